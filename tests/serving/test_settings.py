"""The environment, checked by name."""

from __future__ import annotations

import pytest

from serving.settings import InvalidSetting, Settings


def test_nothing_set_is_the_default() -> None:
    settings = Settings.from_environment({"PATH": "/bin"})
    assert settings == Settings()
    assert settings.host == "127.0.0.1"
    assert settings.own_hosts == ("localhost", "127.0.0.1", "[::1]")
    assert settings.cors_origins == ()


def test_everything_can_be_set() -> None:
    settings = Settings.from_environment(
        {
            "CAPTIONER_HOST": "::",
            "CAPTIONER_PORT": "80",
            "CAPTIONER_MODELS": "caption=mine, translate=a,frames=../b,translate=b",
            "CAPTIONER_ALLOWED_HOSTS": "Example.org, *.example.org",
            "CAPTIONER_CORS_ORIGINS": "https://a.example http://b.example:8080",
            "CAPTIONER_DEADLINE_S": "2.5",
            "CAPTIONER_LOG_LEVEL": "debug",
            "CAPTIONER_BUNDLES": "/anything",
        }
    )
    assert settings.host == "::"
    assert settings.models == {"caption": "mine", "frames": "../b", "translate": ("a", "b")}
    assert settings.own_hosts[3:] == ("example.org", "*.example.org")
    assert len(settings.cors_origins) == 2
    assert settings.deadline_s == 2.5
    assert settings.log_level == "DEBUG"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CAPTIONER_PORT", "many"),
        ("CAPTIONER_PORT", "0"),
        ("CAPTIONER_PORT", "70000"),
        ("CAPTIONER_MAX_QUEUE", "1.5"),
        ("CAPTIONER_DEADLINE_S", "nan"),
        ("CAPTIONER_DEADLINE_S", "inf"),
        ("CAPTIONER_HOST", "captions.example.org"),
        ("CAPTIONER_ALLOWED_HOSTS", "http://example.org"),
        ("CAPTIONER_ALLOWED_HOSTS", "example.org:80"),
        ("CAPTIONER_CORS_ORIGINS", "example.org"),
        ("CAPTIONER_CORS_ORIGINS", "https://example.org/path"),
        ("CAPTIONER_MODELS", "caption"),
        ("CAPTIONER_MODELS", "caption=a,caption=b"),
        ("CAPTIONER_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings.from_environment({variable: value})
    assert variable in caught.value.message
    assert value.split(",")[-1] in caught.value.message


def test_a_misspelt_name_is_not_passed_over() -> None:
    with pytest.raises(InvalidSetting, match="CAPTIONER_MAX_QUEUE"):
        Settings.from_environment({"CAPTIONER_MAX_QEUE": "3"})
    Settings.from_environment({"CAPTIONER_SOMETHING_OF_OTHERS": "3"})


def test_the_bound_address_is_a_name_of_ours() -> None:
    assert "192.168.1.5" in Settings(host="192.168.1.5").own_hosts
    assert "[fd00::1]" in Settings(host="fd00::1").own_hosts
    assert Settings(host="0.0.0.0").own_hosts == Settings().own_hosts
