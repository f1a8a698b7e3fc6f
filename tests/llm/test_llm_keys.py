"""Keys come from private places and show up nowhere."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import traceback

import pytest
from conftest_llm import Room, planted_markers

from cellkey.errors import InputError, ServiceError
from cellkey.llm import (
    Journal,
    ModelClient,
    Origin,
    RecordedTransport,
    RetryPolicy,
    Timeouts,
    annotate_markers,
    provider_from,
)
from cellkey.llm.credentials import find_key, read_key_file, redact
from cellkey.llm.messages import ChatRequest, Message
from cellkey.llm.roles import SCORER
from cellkey.testing import Fault

KEY = "sk-planted-4f9d2c7ab1e0"


def test_a_given_key_beats_the_environment_and_that_beats_the_file(tmp_path) -> None:
    """Explicit, environment, file, in this order."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"openai": "from-file"}))
    file.chmod(0o600)
    options = {"environment": {"OPENAI_API_KEY": "from-env"}, "file": file, "fields": ["openai_api_key", "openai"]}

    def found(**changes) -> str:
        key = find_key(["OPENAI_API_KEY"], **{**options, **changes})
        assert key is not None
        return key.get_secret_value()

    assert found(given="explicit") == "explicit"
    assert found() == "from-env"
    assert found(environment={}) == "from-file"


def test_files_next_to_the_working_directory_are_found(tmp_path, monkeypatch) -> None:
    """``api_keys.json`` here, or in the folder above."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    file = tmp_path / "api_keys.json"
    file.write_text(json.dumps({"openrouter_api_key": "x"}))
    file.chmod(0o600)
    provider = provider_from("openrouter", environment={})
    assert provider.key is not None
    assert provider.key.get_secret_value() == "x"


def test_a_file_that_others_may_read_is_refused_without_quoting_it(tmp_path) -> None:
    """The message says how to mend it, and holds no content."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"openai_api_key": KEY}))
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600") as caught:
        read_key_file(file)
    assert KEY not in full_text(caught.value)


def test_a_broken_file_is_refused_without_quoting_it(tmp_path) -> None:
    """A JSON error carries the whole text; ours does not."""
    file = tmp_path / "keys.json"
    file.write_text(f'{{"openai_api_key": "{KEY}"')
    file.chmod(0o600)
    with pytest.raises(InputError) as caught:
        read_key_file(file)
    assert KEY not in full_text(caught.value)


def test_a_missing_key_names_the_variable() -> None:
    """The message says what to set."""
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        provider_from("openai", environment={}, key_file=None)


def test_no_key_is_needed_on_this_machine() -> None:
    """Loopback by host name only: a text that mentions localhost is not enough."""
    for url in ("http://127.0.0.1:1/v1", "http://localhost:1/v1", "http://[::1]:1/v1", "http://0.0.0.0:1"):
        assert provider_from(url, environment={}).is_local
    assert not provider_from("https://example.org/localhost", environment={}).is_local
    with pytest.raises(InputError):
        provider_from("openai", base_url="https://localhost.example.org/v1", environment={})


@pytest.mark.parametrize("url", ["ftp://x/v1", "http://", "http://x:y/v1", "://", "http://u:p@:99/v1"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    """Credentials in an address are not repeated."""
    with pytest.raises(InputError) as caught:
        provider_from("custom", base_url=url, environment={})
    assert ":p@" not in str(caught.value)


def test_redaction() -> None:
    """Known keys and whatever looks like one are taken out; gene names and words stay."""
    from pydantic import SecretStr

    text = "key abc123xyz; sk-proj-1234567890; Bearer abcdefgh; genes SKP1, PKM, key_markers"
    assert redact(text, [SecretStr("abc123xyz")]) == "key [key]; [key]; [key]; genes SKP1, PKM, key_markers"


def full_text(error: BaseException) -> str:
    """Everything a traceback can show, with local variables, causes and contexts."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True, compact=False)
    parts = ["".join(shown.format(chain=True)), repr(error), str(error)]
    for inner in (error.__cause__, error.__context__):
        if inner is not None and inner is not error:
            parts.append(full_text(inner))  # noqa: PERF401
    return "\n".join(parts)


@pytest.mark.parametrize(
    "fault", [Fault.UNAUTHORISED, Fault.RESET, Fault.SILENT, Fault.HTML, Fault.CUT_BODY, Fault.SERVER_ERROR]
)
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_planted_keys_show_nowhere(room: Room, tmp_path, caplog, capfd, fault: Fault, name: str) -> None:
    """No file, log, message, repr, local variable of a traceback or pickle holds the key."""
    caplog.set_level(logging.DEBUG)
    room.server.plan = lambda _r, n: fault if n % 2 else None
    provider = provider_from(name, base_url=room.server.url, key=KEY, environment={})
    client = room.client(provider=provider, journal=Journal(tmp_path / "calls.jsonl"), retry=RetryPolicy(retries=0))
    client._transport = RecordedTransport(tmp_path / "recording.jsonl", client._transport)
    result = annotate_markers(planted_markers(), client, clock=room.clock)
    result.write(tmp_path)
    with pytest.raises(ServiceError) as caught:
        room.server.plan = lambda _r, _n: fault
        fresh = ModelClient(
            provider, "m", client._transport, retry=RetryPolicy(retries=0), timeouts=Timeouts(1.0, 0.3, 0.5)
        )
        fresh.ask(ChatRequest("s", (Message("user", "<data>\n{}\n</data>"),), SCORER.form), Origin("scorer"))
    shown = [
        full_text(caught.value),
        repr(provider),
        repr(client),
        repr(client.__dict__),
        caplog.text,
        "".join(capfd.readouterr()),
        repr(result),
    ]
    shown += [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    for text in shown:
        assert KEY not in text
    assert any(KEY in s for s in [provider.key.get_secret_value()])  # the key was really planted


def test_the_key_reaches_the_service_in_the_right_header() -> None:
    """Bearer for chat completions, ``x-api-key`` for messages; other formats' headers are absent."""
    chat, anthropic = (provider_from(n, key=KEY, environment={}) for n in ("openai", "anthropic"))
    assert chat.wire.headers(chat.key)["authorization"].get_secret_value() == f"Bearer {KEY}"
    headers = anthropic.wire.headers(anthropic.key)
    assert headers["x-api-key"].get_secret_value() == KEY
    assert headers["anthropic-version"]


def test_a_crash_with_locals_shown_holds_no_key(tmp_path) -> None:
    """A process that dies with a verbose traceback tells nothing."""
    program = f"""
import sys, traceback
from cellkey.llm import LiveTransport, ModelClient, provider_from, RetryPolicy, Origin, Timeouts
from cellkey.llm.messages import ChatRequest, Message
key = open({str(tmp_path / "k")!r}).read()
provider = provider_from("openai", base_url="http://127.0.0.1:9/v1", key=key, environment={{}})
del key
client = ModelClient(provider, "m", LiveTransport(), retry=RetryPolicy(retries=0), timeouts=Timeouts(1, 1, 1))
try:
    client.ask(ChatRequest("s", (Message("user", "u"),)), Origin("x"))
except Exception as error:
    t = traceback.TracebackException.from_exception(error, capture_locals=True)
    print("".join(t.format()))
    raise
"""
    (tmp_path / "k").write_text(KEY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConnectionFailedError" in done.stderr
    assert KEY not in done.stdout + done.stderr
