"""A model that is slow, fails, hangs, is missing or comes late: typed answers, and it goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from captioner.errors import BundleError, MissingBundle


def ask(service, kit, colour=(200, 40, 40), **headers: str) -> httpx.Response:
    with service.client() as client:
        return client.post(
            "/caption", files={"image": kit.photo(colour=colour)}, headers=headers
        )  # fmt: skip


def many(service, kit, count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(service, kit), range(count)))


def error_of(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


def test_overload_is_a_429_that_says_when_to_come_back(kit) -> None:
    task = kit.task()
    with kit.running(task, max_queue=3, max_batch=2) as service:
        task.before = lambda prepared: time.sleep(0.3)
        answers = many(service, kit, 24)
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert {error_of(answer) for answer in refused} == {"overloaded"}
        assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
        assert ask(service, kit).status_code == 200


def test_a_deadline_is_a_503(kit) -> None:
    task = kit.task()
    gate = threading.Event()
    with kit.running(task) as service:
        task.before = lambda prepared: gate.wait(20) and None
        began = time.monotonic()
        answer = ask(service, kit, **{"X-Timeout-Ms": "150"})
        assert answer.status_code == 503
        assert error_of(answer) == "deadline_exceeded"
        assert "retry-after" in answer.headers
        assert time.monotonic() - began < 5
        gate.set()
        assert ask(service, kit).status_code == 200


def test_one_poison_photo_fails_alone(kit) -> None:
    """In batches with others; which it is shows in its colour."""
    task = kit.task()
    poison = (0, 0, 250)

    def before(prepared) -> None:
        time.sleep(0.1)
        if any(picture.image.getpixel((0, 0))[2] > 200 for picture in prepared):
            raise RuntimeError("poison")

    with kit.running(task) as service:
        task.before = before
        colours = [poison if i == 5 else (200, 10 * i, 40) for i in range(12)]
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda colour: ask(service, kit, colour), colours))
        assert [answer.status_code for answer in answers] == [
            500 if colour == poison else 200 for colour in colours
        ]
        assert max(task.batches[2:]) > 1, "there was a batch"
        for colour, answer in zip(colours, answers, strict=True):
            if colour != poison:
                green = int(answer.json()["caption"].split()[-2])
                assert abs(green - colour[1]) < 8, "everybody got the caption of their own photo"
        assert "poison" not in answers[5].text
        assert ask(service, kit).status_code == 200


def test_a_result_of_another_length_is_a_500(kit) -> None:
    task = kit.task()
    with kit.running(task) as service:
        task.before = lambda prepared: []
        answer = ask(service, kit)
        assert answer.status_code == 500
        assert error_of(answer) == "internal"
        task.before = None
        assert ask(service, kit).status_code == 200


def test_scores_that_are_no_numbers_are_a_500(kit) -> None:
    """NaN is not JSON: better no answer than one that breaks the client's parser."""
    task = kit.task()
    with kit.running(task) as service:
        from dataclasses import replace

        from captioner.tasks.options import CaptionOptions

        task.before = lambda prepared: [
            replace(kit.reading(p, CaptionOptions()), confidence=float("nan")) for p in prepared
        ]
        assert error_of(ask(service, kit)) == "internal"


def test_a_failing_model_is_not_ready_until_it_works_again(kit) -> None:
    task = kit.task()

    def fail(prepared):
        raise RuntimeError("broken")

    with kit.running(task) as service, service.client() as client:
        task.before = fail
        for _ in range(5):
            assert client.get("/readyz").status_code == 200
            assert ask(service, kit).status_code == 500
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        assert client.get("/status").json()["state"] == "degraded"
        task.before = None
        assert client.get("/readyz").status_code == 200, "the probe tries it again"
        assert client.get("/status").json()["state"] == "ready"


def test_a_stuck_model_asks_for_a_restart(kit) -> None:
    task = kit.task()
    gate = threading.Event()
    with kit.running(task, stuck_s=1.0) as service, service.client() as client:
        task.before = lambda prepared: gate.wait(20) and None
        assert error_of(ask(service, kit, **{"X-Timeout-Ms": "100"})) == "deadline_exceeded"
        assert client.get("/livez").status_code == 200
        kit.wait_until(lambda: client.get("/livez").status_code == 503)
        assert client.get("/readyz").status_code == 503
        assert client.get("/models").json()["models"][0]["state"] == "stuck"
        gate.set()
        kit.wait_until(lambda: client.get("/livez").status_code == 200)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (MissingBundle("there is none."), "missing"),
        (BundleError("weights.safetensors is damaged."), "failed"),
        (RuntimeError("a secret of /root"), "failed"),
    ],
    ids=["missing", "damaged", "fault"],
)
def test_without_a_bundle_only_its_endpoint_is_gone(kit, error: Exception, state: str) -> None:
    def load(task: str, model: str | None):
        raise error

    with kit.running(load=load) as service, service.client() as client:
        answer = ask(service, kit)
        assert answer.status_code == 404
        assert error_of(answer) == "model_not_available"
        entry = client.get("/models").json()["models"][0]
        assert entry["state"] == state
        assert ("secret" in entry["problem"]) is False
        assert client.get("/readyz").status_code == 200
        assert client.get("/docs.json").status_code == 200
        expected = "ready" if state == "missing" else "degraded"
        assert client.get("/status").json()["state"] == expected


def test_a_model_that_fails_its_warm_up_is_not_served(kit) -> None:
    def before(prepared):
        raise RuntimeError("no")

    with kit.running(kit.task(before)) as service:
        assert error_of(ask(service, kit)) == "model_not_available"


def test_the_warm_up_computes_one_and_a_full_batch(kit) -> None:
    task = kit.task()
    with kit.running(task, max_batch=4):
        assert task.batches == [1, 4]


def test_the_chosen_bundle_is_loaded(kit) -> None:
    asked = []

    def load(task: str, model: str | None):
        asked.append((task, model))
        return kit.task()

    with kit.running(load=load, models={"caption": "mine"}):
        assert asked[0] == ("caption", "mine")
        assert {model for _, model in asked[1:]} == {None}


def test_before_the_models_are_there_a_503_says_so(kit) -> None:
    """Not reached over HTTP, where nothing is answered before the start is over; the rule holds
    for whoever mounts the application."""
    from serving.app import create_app, guarded
    from serving.settings import Settings

    edge = guarded(create_app(Settings(), load=lambda task, model: kit.task()))

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app=edge)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/caption", content=b"x")

    answer = asyncio.run(post())
    assert answer.status_code == 503
    assert error_of(answer) == "not_ready"
    assert int(answer.headers["retry-after"]) >= 1


def test_what_is_in_flight_when_the_service_ends_is_answered(kit) -> None:
    task = kit.task()
    with ThreadPoolExecutor(12) as pool:
        with kit.running(task, max_batch=2) as service:
            gate = threading.Event()

            def hold(prepared) -> None:
                gate.wait(10)

            task.before = hold
            calls = [pool.submit(ask, service, kit) for _ in range(12)]
            # All twelve have come: at most a batch of two is with the model.
            kit.wait_until(lambda: service.runtime.models["caption"].waiting >= 10)
            threading.Timer(0.3, gate.set).start()
        answers = [call.result(20) for call in calls]
    assert [answer.status_code for answer in answers] == [200] * 12


def test_a_service_that_ends_refuses_what_is_new(kit) -> None:
    task = kit.task()
    with kit.running(task) as service, service.client() as client:
        model = service.runtime.models["caption"]
        model._batcher._closing = True
        answer = client.post("/caption", files={"image": kit.photo()})
        assert answer.status_code == 503
        assert error_of(answer) == "shutting_down"
        assert int(answer.headers["retry-after"]) >= 1
        model._batcher._closing = False


def test_a_real_bundle_that_is_damaged_is_refused_by_name(
    kit, make_tiny_bundle, tmp_path: Path
) -> None:
    from captioner.tasks import load

    bundle = make_tiny_bundle(tmp_path)
    weights = bundle / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with (
        kit.running(load=lambda task, model: load(task, model=str(bundle))) as service,
        service.client() as client,
    ):
        entry = client.get("/models").json()["models"][0]
        assert entry["state"] == "failed"
        assert "weights.safetensors" in entry["problem"]
        assert str(tmp_path) not in entry["problem"], "no path of this machine"
