"""Waits, lanes, budgets, prices and the journal."""

from __future__ import annotations

import json
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.errors import BudgetExceededError, CellkeyWarning, InputError, RunError
from cellkey.llm import (
    AnswerCache,
    Budget,
    Call,
    Journal,
    Lane,
    Price,
    PriceTable,
    RetryPolicy,
    read_calls,
    token_tracking,
)
from cellkey.llm.messages import ChatReply, Usage
from cellkey.testing import InstantClock


@given(st.integers(0, 200), st.none() | st.floats(0, 1000), st.integers())
def test_waits_are_at_least_what_is_asked_for_and_bounded_above_it(
    attempt: int, asked: float | None, seed: int
) -> None:
    """Full jitter between zero and the ceiling, on top of Retry-After."""
    policy = RetryPolicy()
    wait = policy.wait(attempt, asked, random.Random(seed))
    assert (asked or 0) <= wait <= (asked or 0) + min(60.0, 2.0 ** min(attempt, 60))


def test_a_lane_bounds_what_runs_at_once() -> None:
    """Never more than the limit, whatever the number of threads."""
    lane, lock, running, peak = Lane(3), threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, peak
        for _ in range(5):
            with lane.passage():
                with lock:
                    running += 1
                    peak = max(peak, running)
                threading.Event().wait(0.001)
                with lock:
                    running -= 1

    threads = [threading.Thread(target=work) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert peak == 3


def test_a_complaint_halves_the_lane_once_and_calm_widens_it() -> None:
    """Calls that ran side by side complain about the same thing; twenty calm calls allow one more."""
    clock = InstantClock()
    lane = Lane(8, clock=clock)
    passages = []
    for _ in range(4):
        with lane.passage() as passage:
            passages.append(passage)
    for passage in passages:
        lane.throttled(passage, 5.0)
    assert lane.allowed == 4
    with lane.passage() as passage:
        assert sum(clock.waits) >= 5.0 - 0.1
    for _ in range(20):
        lane.succeeded(passage, 10)
    assert lane.allowed == 5


def test_requests_and_tokens_per_minute() -> None:
    """The third request of two per minute waits for the first to be a minute old; tokens likewise."""
    clock = InstantClock()
    lane = Lane(8, requests_per_minute=2, clock=clock)
    for _ in range(3):
        with lane.passage():
            pass
    assert sum(clock.waits) == pytest.approx(60, abs=1)
    clock = InstantClock()
    lane = Lane(8, tokens_per_minute=100, clock=clock)
    for tokens in (60, 60, 500):  # more than the limit passes alone, rather than never
        with lane.passage(tokens):
            pass
    assert 100 < sum(clock.waits) <= 121


def test_a_budget_is_never_passed_under_concurrency(tmp_path) -> None:
    """Reservations of what a call can cost at most; also through two openings of one file."""
    file = tmp_path / "b.sqlite"
    budgets = [Budget(1.0, file=file), Budget(1.0, file=file)]
    accepted: list[float] = []

    def spend(budget: Budget) -> None:
        for _ in range(20):
            try:
                number = budget.reserve(0.1, 100)
            except BudgetExceededError:
                return
            budget.settle(number, 0.07, 70)
            accepted.append(0.07)

    threads = [threading.Thread(target=spend, args=(b,)) for b in budgets * 3]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(accepted) <= 1.0
    assert sum(accepted) > 0.85  # one more call could have passed the limit
    assert budgets[0].spent()[0] == pytest.approx(sum(accepted))
    for b in budgets:
        b.close()


def test_a_budget_of_tokens_counts_what_was_spent_before() -> None:
    """A resumed run goes on where it stopped."""
    budget = Budget(tokens=1000, spent_tokens=900)
    budget.settle(budget.reserve(0, 100), 0, 100)
    with pytest.raises(BudgetExceededError, match="1,000 tokens"):
        budget.reserve(0, 1)


def test_a_call_waits_while_others_may_leave_room_for_it(tmp_path) -> None:
    """What is set aside for calls under way is not spent yet; also where another process has set it aside."""
    file = tmp_path / "b.sqlite"
    for own, other in ((Budget(1.0), None), (Budget(1.0, file=file), Budget(1.0, file=file))):
        number = (other or own).reserve(0.9, 0)
        settling = threading.Timer(0.3, (other or own).settle, (number, 0.1, 0))
        settling.start()
        own.reserve(0.5, 0)
        settling.join()
        assert own.spent()[0] == pytest.approx(0.6)
        own.close()


def test_what_a_dead_process_set_aside_is_not_waited_for_for_ever() -> None:
    """It stays set aside, but nobody hopes for it after a while."""
    budget = Budget(1.0, patience=0.1)
    budget.reserve(0.9, 0)
    with pytest.raises(BudgetExceededError, match=r"0\.9000 spent or set aside"):
        budget.reserve(0.5, 0)
    assert budget.spent()[0] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("model", "source", "cost"),
    [
        ("gpt-4o-2024-08-06", "table", 2.5 + 10.0),
        ("openai/gpt-4o-mini", "table", 0.75),
        ("claude-sonnet-4-5-20250929", "table", 18.0),
        ("anthropic/claude-sonnet-4-5", "table", 18.0),
        ("my-own", "assumed", 11.25),
        ("gpt-4o-2024-05-13", "table", 20.0),
    ],
)
def test_prices(model: str, source: str, cost: float) -> None:
    """By full name, without vendor, without date; an unknown model is priced by assumption and says so."""
    price = PriceTable().price(model)
    assert (price.source, price.cost(Usage(1_000_000, 1_000_000))) == (source, pytest.approx(cost))
    assert price.is_known == (source != "assumed")


def test_price_sources_in_order(tmp_path) -> None:
    """Options beat the user's file, that beats the table; this machine is free; what the provider says wins."""
    file = tmp_path / "p.json"
    file.write_text('{"gpt-4o": {"input": 1, "output": 2}}')
    assert PriceTable(file).price("gpt-4o") == Price(1.0, 2.0, None, "user")
    assert PriceTable(file, 5.0, 6.0).price("gpt-4o").source == "option"
    assert PriceTable().price("llama", is_local=True).cost(Usage(10**6, 10**6)) == 0
    assert Price(1, 1).cost(Usage(10**6, 10**6, cost=0.5)) == 0.5
    file.write_text('{"gpt-4o": 1}')
    with pytest.raises(InputError, match="price file"):
        PriceTable(file)


def test_cached_tokens_have_their_own_price() -> None:
    """Reading from the prompt cache is cheaper, writing to it dearer."""
    price = Price(10.0, 0.0, 1.0)
    usage = Usage(input_tokens=1_000_000, cached_tokens=400_000, cache_write_tokens=100_000)
    assert price.cost(usage) == pytest.approx(5.0 + 0.4 + 1.25)


def call(**changes) -> Call:
    base = {
        "timestamp": "2026-01-01T00:00:00+00:00",
        "role": "annotator",
        "model": "m",
        "requested_model": "m",
        "provider": "p",
        "status": "ok",
        "input_tokens": 10,
        "output_tokens": 5,
        "cost": 0.1,
        "dataset": "d",
    }
    return Call(**{**base, **changes})


def test_tracking_has_the_documented_keys_and_adds_up() -> None:
    """Totals are the sums of the entries; cache hits are counted apart; calls are in order of time."""
    calls = [
        call(timestamp="2026-01-01T00:00:02+00:00"),
        call(status="throttled", input_tokens=0, output_tokens=0, cost=0.0),
        call(status="cached"),
        call(role="scorer", dataset="e"),
    ]
    tracking = token_tracking(calls, run="run_x", started_at="a", finished_at="b", prices={"m": Price(1, 2)})
    assert (tracking["total_calls"], tracking["total_tokens"], tracking["cache_hits"]) == (3, 30, 1)
    assert tracking["total_cost"] == sum(c["cost"] for c in tracking["api_calls"])
    assert tracking["failed_calls"] == 1
    assert tracking["by_dataset"]["e"]["input_tokens"] == 10
    stamps = [c["timestamp"] for c in tracking["api_calls"]]
    assert stamps == sorted(stamps)
    json.dumps(tracking, allow_nan=False)
    empty = token_tracking([], run="r", started_at="", finished_at="")
    assert (empty["total_calls"], empty["total_tokens"], empty["api_calls"]) == (0, 0, [])
    assert f"{empty['total_cost']:.2f}" == "0.00"


def test_a_journal_gives_back_what_it_was_told(tmp_path) -> None:
    """Calls and answers, in the order of each request."""
    path = tmp_path / "x" / "calls.jsonl"
    journal = Journal(path)
    replies = [ChatReply("one", "m", Usage(1, 2)), ChatReply("zwei \u2028", "m", Usage(cost=0.5))]
    for reply in replies:
        journal.append(call(), "k", reply)
    journal.append(call(status="throttled"), "k")
    journal.close()
    again = Journal(path)
    assert [again.reply("k", i) for i in range(3)] == [*replies, None]
    assert again.calls == journal.calls == read_calls(path)
    assert (path.stat().st_mode & 0o777) == 0o600
    again.close()


def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path) -> None:
    """A process that died while writing leaves a journal that works."""
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    for i in range(3):
        journal.append(call(cluster=str(i)), f"k{i}", ChatReply("a", "m", Usage()))
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])  # the line is complete, only its end is missing: nothing is lost
    again = Journal(path)
    assert len(again.calls) == len(read_calls(path)) == 3
    again.close()
    assert path.read_bytes() == whole
    for cut in (2, 10, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        assert len(read_calls(path)) == 2
        again = Journal(path)
        assert [c.cluster for c in again.calls] == ["0", "1"]
        again.append(call(cluster="9"), "k9", ChatReply("b", "m", Usage()))
        again.close()
        assert [c.cluster for c in read_calls(path)] == ["0", "1", "9"]


def test_a_journal_that_cannot_be_written_is_an_error_of_the_run(tmp_path) -> None:
    """No answer is used that was not recorded."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        Journal(tmp_path / "file" / "calls.jsonl").append(call())


def test_trouble_with_the_cache_is_a_warning(tmp_path) -> None:
    """A broken cache costs money, never a result."""
    broken = tmp_path / "c.sqlite"
    broken.write_bytes(b"this is no database, but long enough to be looked at" * 10)
    with pytest.warns(CellkeyWarning, match="cache"):
        cache = AnswerCache(broken)
    cache.put("k", ChatReply("x", "m", Usage()))
    assert cache.get("k") is None


def test_the_cache_keeps_and_read_only_adds_nothing(tmp_path) -> None:
    """Stored once, found by other openings."""
    file, reply = tmp_path / "c.sqlite", ChatReply("x", "m", Usage(1, 2))
    for cache in (AnswerCache(file), AnswerCache(file, read_only=True)):
        cache.put("k" if cache.get("k") is None else "other", reply)
        cache.close()
    cache = AnswerCache(file)
    assert (cache.get("k"), cache.get("other")) == (reply, None)
    cache.close()
