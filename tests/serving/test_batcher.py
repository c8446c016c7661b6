"""The micro-batcher alone: what waits, what is computed with what, and who bears a failure."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from captioner.errors import ImageError
from serving.batcher import Answer, MicroBatcher, ModelFailure
from serving.responses import RequestError
from serving.threads import Threads


@pytest.fixture
def thread() -> Iterator[Threads]:
    threads = Threads(1, "model")
    yield threads
    threads.close()


class Model:
    """Doubles numbers. It stops at ``gate`` where there is one, and remembers its batches."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.batches: list[list[Any]] = []
        self.gate = gate

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        if self.gate is not None:
            assert self.gate.wait(20)
        for item in items:
            if isinstance(item, BaseException):
                raise item
        return [2 * item for item in items]


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.reasons: list[str] = []
        self.depths: list[int] = []

    def batch(self, size: int, model_s: float, queue_s: Sequence[float]) -> None:
        assert len(queue_s) == size
        assert model_s >= 0
        self.sizes.append(size)

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)

    def depth(self, waiting: int) -> None:
        self.depths.append(waiting)


def run(body: Callable[[MicroBatcher[Any, Any]], Awaitable[Any]], model: Any, thread: Threads, **o):
    async def whole() -> Any:
        batcher: MicroBatcher[Any, Any] = MicroBatcher(model, thread, **o)
        batcher.start()
        try:
            return await asyncio.wait_for(body(batcher), 20)
        finally:
            await batcher.close(2)

    return asyncio.run(whole())


def soon(seconds: float = 10) -> float:
    return asyncio.get_running_loop().time() + seconds


async def outcomes(batcher, items: Sequence[Any], **more: Any) -> list[Any]:
    options = {"key": "same", "deadline": soon()} | more
    calls = [batcher.submit(item, **options) for item in items]
    found = await asyncio.gather(*calls, return_exceptions=True)
    return [one.value if isinstance(one, Answer) else one for one in found]


async def behind(batcher, gate: threading.Event, items: Sequence[Any], **more: Any) -> list[Any]:
    """Outcomes of items that arrive while the model computes a first one."""
    first = asyncio.ensure_future(batcher.submit(0, key="first", deadline=soon()))
    while not batcher.busy_s:
        await asyncio.sleep(0.001)
    waiting = asyncio.ensure_future(outcomes(batcher, items, **more))
    while batcher.depth < len(items):
        await asyncio.sleep(0.001)
    gate.set()
    await first
    return await waiting


def test_every_item_gets_its_own_answer(thread: Threads) -> None:
    model = Model()
    assert run(lambda b: outcomes(b, range(50)), model, thread) == [2 * i for i in range(50)]
    assert max(map(len, model.batches)) == 8
    assert sum(map(len, model.batches)) == 50


def test_an_idle_model_gets_an_item_at_once(thread: Threads) -> None:
    async def one_after_the_other(batcher) -> list[Answer[Any]]:
        return [await batcher.submit(i, key="k", deadline=soon()) for i in range(20)]

    model = Model()
    answers = run(one_after_the_other, model, thread)
    assert model.batches == [[i] for i in range(20)]
    assert sorted(answer.queue_s for answer in answers)[10] < 0.005


def test_what_arrives_while_the_model_computes_is_one_batch(thread: Threads) -> None:
    gate = threading.Event()
    model = Model(gate)
    run(lambda b: behind(b, gate, [1, 2, 3]), model, thread)
    assert model.batches == [[0], [1, 2, 3]]


def test_items_with_other_keys_are_not_in_a_batch_and_keep_their_turn(thread: Threads) -> None:
    async def mixed(batcher) -> None:
        first = asyncio.ensure_future(batcher.submit(0, key="a", deadline=soon()))
        while not batcher.busy_s:
            await asyncio.sleep(0.001)
        keys = ["b", "a", "b", None, None, "a"]
        calls = [
            asyncio.ensure_future(batcher.submit(i + 1, key=key, deadline=soon()))
            for i, key in enumerate(keys)
        ]
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(first, *calls)

    gate = threading.Event()
    model = Model(gate)
    run(mixed, model, thread)
    assert model.batches == [[0], [1, 3], [2, 6], [4], [5]]


def test_one_poison_item_fails_alone(thread: Threads) -> None:
    gate = threading.Event()
    told = Told()
    poison = ValueError("poison")
    found = run(
        lambda b: behind(b, gate, [1, 2, poison, 4]), Model(gate), thread, observer=told
    )  # fmt: skip
    assert [found[0], found[1], found[3]] == [2, 4, 8]
    assert isinstance(found[2], ModelFailure)
    assert found[2].__cause__ is poison
    assert told.reasons == ["retried"]


def test_the_models_word_about_an_item_reaches_its_client(thread: Threads) -> None:
    gate = threading.Event()
    bad = ImageError("too odd")
    found = run(lambda b: behind(b, gate, [1, bad, 3]), Model(gate), thread)
    assert found == [2, bad, 6]


def test_exceptions_among_the_results_are_their_items_alone(thread: Threads) -> None:
    def model(items: Sequence[int]) -> list[Any]:
        return [ImageError(str(i)) if i == 1 else KeyError(i) if i == 2 else i for i in items]

    found = run(lambda b: outcomes(b, [0, 1, 2, 3]), model, thread)
    assert found[0] == 0
    assert found[3] == 3
    assert isinstance(found[1], ImageError)
    assert isinstance(found[2], ModelFailure)


@pytest.mark.parametrize("change", [-1, 1], ids=["one-too-few", "one-too-many"])
def test_a_result_of_another_length_fails_all(thread: Threads, change: int) -> None:
    gate = threading.Event()

    def model(items: Sequence[int]) -> list[int]:
        gate.wait(20)
        right = [2 * item for item in items]
        return right if len(items) == 1 else (right[:-1] if change < 0 else [*right, 0])

    found = run(lambda b: behind(b, gate, [1, 2, 3]), model, thread)
    assert [type(one) for one in found] == [ModelFailure] * 3, "nobody gets another's answer"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("x"), MemoryError(), StopIteration(), SystemExit(3), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_the_model_raises_the_batcher_lives_on(thread: Threads, error) -> None:
    async def twice(batcher) -> list[Any]:
        return [*await outcomes(batcher, [error]), *await outcomes(batcher, [4])]

    failed, fine = run(twice, Model(), thread)
    assert isinstance(failed, ModelFailure)
    assert fine == 8


def test_a_full_queue_refuses_and_says_when_to_come_back(thread: Threads) -> None:
    async def flood(batcher) -> list[Any]:
        calls = [asyncio.ensure_future(outcomes(batcher, [i])) for i in range(30)]
        await asyncio.sleep(0.02)
        gate.set()
        return [found[0] for found in await asyncio.gather(*calls)]

    gate = threading.Event()
    told = Told()
    found = run(flood, Model(gate), thread, max_queue=5, observer=told)
    refused = [one for one in found if isinstance(one, RequestError)]
    assert {one.code for one in refused} == {"overloaded"}
    assert all(1 <= int(one.headers["retry-after"]) <= 60 for one in refused)
    assert len(refused) == told.reasons.count("rejected") >= 24
    assert max(told.depths) == 5


def test_a_deadline_ends_waiting_and_frees_the_place(thread: Threads) -> None:
    async def late(batcher) -> tuple[Any, float, int]:
        first = asyncio.ensure_future(batcher.submit(0, key="k", deadline=soon()))
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        found = await outcomes(batcher, [1], deadline=soon(0.1))
        waited = time.perf_counter() - began
        depth = batcher.depth
        gate.set()
        await first
        return found[0], waited, depth

    gate = threading.Event()
    model = Model(gate)
    told = Told()
    error, waited, depth = run(late, model, thread, observer=told)
    assert error.code == "deadline_exceeded"
    assert "retry-after" in error.headers
    assert 0.09 < waited < 2
    assert depth == 0
    assert model.batches == [[0]], "what nobody waits for is not computed"
    assert told.reasons == ["expired"]


def test_a_deadline_ends_waiting_for_a_model_that_hangs(thread: Threads) -> None:
    gate = threading.Event()

    async def hang(batcher) -> list[Any]:
        found = await outcomes(batcher, [1], deadline=soon(0.05))
        assert batcher.busy_s > 0
        gate.set()
        return found

    assert run(hang, Model(gate), thread)[0].code == "deadline_exceeded"


def test_a_cancelled_item_is_not_computed(thread: Threads) -> None:
    async def leave(batcher) -> list[Any]:
        first = asyncio.ensure_future(batcher.submit(0, key="k", deadline=soon()))
        await asyncio.sleep(0.01)
        calls = [asyncio.ensure_future(outcomes(batcher, [i])) for i in (1, 2, 3)]
        await asyncio.sleep(0.01)
        calls[1].cancel()
        await asyncio.sleep(0.01)
        assert batcher.depth == 2
        gate.set()
        await first
        return [*await calls[0], *await calls[2]]

    gate = threading.Event()
    model = Model(gate)
    told = Told()
    assert run(leave, model, thread, observer=told) == [2, 6]
    assert model.batches == [[0], [1, 3]]
    assert told.reasons == ["cancelled"]


def test_closing_finishes_the_queue_and_refuses_what_is_new(thread: Threads) -> None:
    async def close(batcher) -> list[Any]:
        calls = [asyncio.ensure_future(outcomes(batcher, [i])) for i in range(10)]
        await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(batcher.close(10))
        await asyncio.sleep(0.01)
        late = await outcomes(batcher, [99])
        gate.set()
        await closing
        return [late[0].code, *[found[0] for found in await asyncio.gather(*calls)]]

    gate = threading.Event()
    assert run(close, Model(gate), thread) == ["shutting_down", *[2 * i for i in range(10)]]


def test_closing_does_not_wait_for_ever(thread: Threads) -> None:
    async def close(batcher) -> list[Any]:
        calls = [asyncio.ensure_future(outcomes(batcher, [i])) for i in range(3)]
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        await batcher.close(0.1)
        assert time.perf_counter() - began < 2
        found = [one[0] for one in await asyncio.gather(*calls[1:])]
        gate.set()
        calls[0].cancel()
        return [one.code for one in found]

    gate = threading.Event()
    model = Model(gate)
    found = run(close, model, thread, max_batch=1)
    assert found == ["shutting_down", "shutting_down"]


def test_failures_in_a_row_are_counted_and_forgotten(thread: Threads) -> None:
    async def some(batcher) -> list[int]:
        counts = []
        for item in (ValueError(), ValueError(), 1, ValueError(), ImageError("client's")):
            await outcomes(batcher, [item])
            counts.append(batcher.failures_in_a_row)
        return counts

    assert run(some, Model(), thread) == [1, 2, 0, 1, 0]


def test_a_job_of_a_closed_loop_ends_quietly() -> None:
    threads = Threads(1, "slow")

    async def leave() -> None:
        threads.run(time.sleep, 0.2)

    asyncio.run(leave())
    done = threading.Event()

    async def come_back() -> None:
        await asyncio.wait_for(threads.run(done.set), 5)

    asyncio.run(come_back())
    assert done.is_set()
    threads.close()
