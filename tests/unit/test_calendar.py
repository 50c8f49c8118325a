"""Business time against examples computed by hand; test_calendar_properties.py has an oracle."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from milepost.calendar import DAYS, Calendar, CalendarBoundsError, build_calendar

Weekly = Mapping[str, Sequence[tuple[str, str]]]

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ROUND_THE_CLOCK = {day: [("00:00", "24:00")] for day in DAYS}
OFFICE = {day: [("08:00", "12:00"), ("13:00", "17:00")] for day in DAYS[:5]}


def calendar(weekly: Weekly | None = OFFICE, zone: str = "Europe/Berlin", *holidays: date) -> Calendar:
    return build_calendar("test", zone=zone, weekly=weekly, holidays=holidays)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_time_runs_over_the_weekend_in_which_the_clocks_change() -> None:
    friday = utc("2026-03-27T15:00")  # 16:00 in Berlin, an hour before closing; summer time starts on Sunday
    assert calendar().add(friday, 3 * HOUR) == utc("2026-03-30T08:00")  # Monday 10:00
    assert calendar().between(friday, utc("2026-03-30T08:00")) == 3 * HOUR


def test_time_stands_still_over_lunch() -> None:
    assert calendar().add(utc("2026-03-24T10:30"), HOUR) == utc("2026-03-24T12:30")
    assert calendar().between(utc("2026-03-24T11:10"), utc("2026-03-24T11:50")) == timedelta()


def test_a_full_day_ends_at_its_closing_not_at_the_next_opening() -> None:
    assert calendar().add(utc("2026-03-24T07:00"), 8 * HOUR) == utc("2026-03-24T16:00")
    assert calendar().add(utc("2026-03-24T07:00"), 8 * HOUR + MICROSECOND) == utc("2026-03-25T07:00:00.000001")


def test_time_added_while_closed_runs_from_the_next_opening() -> None:
    assert calendar().add(utc("2026-03-28T03:00"), MICROSECOND) == utc("2026-03-30T06:00:00.000001")


@pytest.mark.parametrize("start", ["2026-03-24T07:30:00.000007", "2026-03-28T03:00"])
def test_no_time_added_is_the_start_itself_open_or_closed(start: str) -> None:
    assert calendar().add(utc(start), timedelta()) == utc(start)


def test_holidays_are_closed() -> None:
    assert calendar(OFFICE, "Europe/Berlin", date(2026, 3, 25)).add(utc("2026-03-24T15:00"), 2 * HOUR) == utc(
        "2026-03-26T08:00"
    )


def test_a_date_may_have_hours_of_its_own() -> None:
    days = {date(2026, 12, 24): [("08:00", "12:00")], date(2026, 12, 19): [("10:00", "14:00")], date(2026, 12, 21): []}
    asked = build_calendar("own", zone="UTC", weekly=OFFICE, holidays=[date(2026, 12, 24)], days=days)
    assert asked.between(utc("2026-12-24T00:00"), utc("2026-12-25T00:00")) == 4 * HOUR
    assert asked.add(utc("2026-12-18T16:00"), 5 * HOUR) == utc("2026-12-19T14:00")
    assert asked.add(utc("2026-12-18T16:00"), 6 * HOUR) == utc("2026-12-22T09:00")
    assert build_calendar("half", zone="UTC", weekly=None, holidays=[], days=days).is_open(utc("2026-12-20T03:00"))


def test_public_holidays_of_country_and_region_are_closed() -> None:
    def berlin(country: str | None, region: str | None) -> Calendar:
        return build_calendar("de", zone="Europe/Berlin", weekly=OFFICE, holidays=[], country=country, region=region)

    epiphany, labour_day = utc("2026-01-06T09:00"), utc("2026-05-01T09:00")
    opened = [
        (it.is_open(epiphany), it.is_open(labour_day))
        for it in (berlin(None, None), berlin("DE", None), berlin("DE", "BW"))
    ]
    assert opened == [(True, True), (True, False), (False, False)]


def test_without_weekly_hours_it_is_24_7() -> None:
    always = calendar(None)
    start, end = utc("2026-03-28T12:00:00.000001"), utc("2026-03-29T12:00")
    assert always.between(start, end) == end - start
    assert always.add(start, end - start) == end
    assert always.is_open(start)


def test_without_weekly_hours_but_with_holidays_it_is_24_7_but_for_them() -> None:
    but_christmas = calendar(None, "UTC", date(2026, 12, 25))
    assert but_christmas.add(utc("2026-12-24T23:00"), 2 * HOUR) == utc("2026-12-26T01:00")


@pytest.mark.parametrize(
    "asked_before", ["2026-12-31T09:00", "2027-01-01T09:00", "2027-01-04T09:00", "2030-06-01T09:00"]
)
def test_time_runs_over_the_new_year_whatever_was_asked_before(asked_before: str) -> None:
    office, start, end = calendar(OFFICE, "UTC"), utc("2026-12-31T03:00"), utc("2027-01-04T09:00")
    office.is_open(utc(asked_before))
    assert office.between(start, end) == 17 * HOUR  # Thursday, Friday, and an hour of Monday
    assert calendar(OFFICE, "UTC").add(start, 17 * HOUR) == end


@pytest.mark.parametrize("asked_before", [0, 20, 40])
@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Pacific/Honolulu", "UTC"])
def test_the_new_year_is_the_zones_own(zone: str, asked_before: int) -> None:
    whole, eve = calendar(ROUND_THE_CLOCK, zone), utc("2026-12-31T06:00")
    assert whole.is_open(eve + asked_before * HOUR)
    assert all(whole.is_open(eve + hour * HOUR) for hour in range(48))


def test_days_of_23_and_25_hours() -> None:
    whole = calendar(ROUND_THE_CLOCK)
    assert whole.between(utc("2026-03-28T23:00"), whole.end_of_day(date(2026, 3, 29))) == 23 * HOUR
    assert whole.between(utc("2026-10-24T22:00"), whole.end_of_day(date(2026, 10, 25))) == 25 * HOUR


@pytest.mark.parametrize(
    ("zone", "shift", "day", "opens", "closes"),
    [
        pytest.param("Europe/Berlin", ("02:30", "06:00"), "2026-03-29", "01:00", "04:00", id="opening in the gap"),
        pytest.param("Europe/Berlin", ("01:00", "02:30"), "2026-03-29", "00:00", "01:00", id="closing in the gap"),
        pytest.param("Europe/Berlin", ("02:30", "06:00"), "2026-10-25", "00:30", "05:00", id="opening in the fold"),
        pytest.param("Europe/Berlin", ("02:00", "02:30"), "2026-10-25", "00:00", "01:30", id="closing in the fold"),
        pytest.param("Europe/Berlin", ("01:00", "02:00"), "2026-10-24", "2026-10-23T23:00", "00:00", id="plain"),
        pytest.param(
            "Europe/Berlin", ("01:00", "02:00"), "2026-10-25", "2026-10-24T23:00", "00:00", id="closing at the fold"
        ),
        pytest.param(
            "Europe/Berlin", ("02:59", "03:00"), "2026-10-25", "00:59", "02:00", id="closing at the fold's end"
        ),
        pytest.param(
            "Australia/Lord_Howe",
            ("02:10", "03:00"),
            "2026-10-04",
            "2026-10-03T15:30",
            "2026-10-03T16:00",
            id="half-hour gap",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            ("01:45", "03:00"),
            "2026-04-05",
            "2026-04-04T14:45",
            "2026-04-04T16:30",
            id="half-hour fold",
        ),
    ],
)
def test_bounds_where_the_clocks_change(zone: str, shift: tuple[str, str], day: str, opens: str, closes: str) -> None:
    on = date.fromisoformat(day)
    shop = calendar({DAYS[on.weekday()]: [shift]}, zone)
    opening, closing = (utc(at if "T" in at else f"{day}T{at}") for at in (opens, closes))
    before, after = opening - 20 * HOUR, closing + 20 * HOUR
    assert shop.add(before, MICROSECOND) == opening + MICROSECOND
    assert shop.between(before, after) == closing - opening
    assert shop.add(before, closing - opening) == closing
    moments = (opening - MICROSECOND, opening, closing - MICROSECOND, closing)
    assert [shop.is_open(at) for at in moments] == [False, True, True, False]


def test_a_shift_inside_the_gap_does_not_happen() -> None:
    night = calendar({"sun": [("02:10", "02:50")]})
    assert night.between(utc("2026-03-28T12:00"), utc("2026-03-29T12:00")) == timedelta()


def test_shifts_that_overlap_because_an_hour_repeats_count_once() -> None:
    night = calendar({"sun": [("00:00", "02:30"), ("02:30", "06:00")]})
    assert night.between(utc("2026-10-24T12:00"), utc("2026-10-25T12:00")) == 7 * HOUR


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("Europe/Berlin", "2026-07-01", "2026-07-01T22:00"),
        ("UTC", "2026-07-01", "2026-07-02T00:00"),
        pytest.param("America/Sao_Paulo", "2018-11-03", "2018-11-04T03:00", id="midnight in the gap"),
        pytest.param("America/Havana", "2026-10-31", "2026-11-01T04:00", id="midnight starts the fold"),
        pytest.param("America/Sao_Paulo", "2018-02-17", "2018-02-18T03:00", id="the fold ends at midnight"),
        pytest.param("America/St_Johns", "2006-10-28", "2006-10-29T03:30", id="midnight inside the fold"),
        pytest.param("Pacific/Apia", "2011-12-29", "2011-12-30T10:00", id="before the day that was skipped"),
        pytest.param("Pacific/Apia", "2011-12-30", "2011-12-30T10:00", id="the day that was skipped"),
    ],
)
def test_a_date_means_the_end_of_its_day(zone: str, day: str, end: str) -> None:
    assert calendar(None, zone).end_of_day(date.fromisoformat(day)) == utc(end)


@pytest.mark.parametrize("weekly", [None, OFFICE])
def test_any_zone_comes_in_and_utc_comes_out(weekly: Weekly | None) -> None:
    local = datetime(2026, 3, 27, 16, tzinfo=ZoneInfo("Europe/Berlin"))
    later = datetime(2026, 3, 30, 16, tzinfo=ZoneInfo("Europe/Berlin"))
    asked = calendar(weekly)
    assert asked.between(local, later) == asked.between(local.astimezone(UTC), later.astimezone(UTC))
    for business in (timedelta(), 60 * HOUR):
        answer = asked.add(local, business)
        assert (answer, answer.tzinfo) == (asked.add(local.astimezone(UTC), business), UTC)


@pytest.mark.parametrize("weekly", [None, OFFICE])
def test_naive_times_and_negative_durations_are_refused(weekly: Weekly | None) -> None:
    naive, aware = datetime.fromisoformat("2026-03-27T16:00"), utc("2026-03-27T16:00")
    asked = calendar(weekly)
    for call in (
        lambda: asked.add(naive, HOUR),
        lambda: asked.add(naive, timedelta()),
        lambda: asked.between(naive, aware),
        lambda: asked.between(aware, naive),
        lambda: asked.is_open(naive),
    ):
        with pytest.raises(ValueError, match="needs a time zone"):
            call()
    with pytest.raises(ValueError, match="must not be negative"):
        asked.add(aware, -MICROSECOND)


@pytest.mark.parametrize("weekly", [None, OFFICE])
def test_the_years_are_bounded(weekly: Weekly | None) -> None:
    asked = calendar(weekly, "Pacific/Auckland")
    first, last = utc("1990-01-01"), utc("2110-12-31")
    assert asked.add(asked.add(first, HOUR), HOUR) == asked.add(first, 2 * HOUR)
    assert asked.between(first, last) > 20 * 365 * DAY
    for start, business in (
        (last, 40 * HOUR),
        (last, timedelta.max),
        (first - MICROSECOND, HOUR),
        (last + 2 * DAY, HOUR),
    ):
        with pytest.raises(CalendarBoundsError, match="2110"):
            asked.add(start, business)
    with pytest.raises(CalendarBoundsError):
        asked.between(first - MICROSECOND, last)
    with pytest.raises(CalendarBoundsError):
        asked.end_of_day(date(2111, 1, 1))


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Pacific/Honolulu", "UTC"])
def test_the_ends_of_the_years_are_inside(zone: str) -> None:
    whole, first, last = calendar(ROUND_THE_CLOCK, zone), utc("1990-01-01"), utc("2111-01-01")
    assert whole.between(first, last) == last - first
    assert calendar(ROUND_THE_CLOCK, zone).add(first, last - first) == last
    assert whole.is_open(first)
    assert whole.is_open(last)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"zone": "Europe/Atlantis"}, 'zone: "Europe/Atlantis" is not a time zone, such as "Europe/Berlin"'),
        ({"zone": "Europe"}, 'zone: "Europe" is not a time zone'),
        ({"zone": "../etc"}, 'zone: "../etc" is not a time zone'),
        ({"weekly": {"monday": []}}, 'weekly: "monday" is not a day: use mon, tue,'),
        ({"weekly": {}}, "weekly: the calendar never opens"),
        ({"weekly": {"mon": []}}, "weekly: the calendar never opens"),
        ({"weekly": {"mon": [("08:00", "25:00")]}}, 'weekly: mon: "25:00" is not a time of day'),
        ({"weekly": {"mon": [("8", "17:00")]}}, 'weekly: mon: "8" is not a time of day'),
        ({"weekly": {"mon": [("08:00", "17:60")]}}, 'weekly: mon: "17:60" is not a time of day'),
        (
            {"weekly": {"fri": [("22:00", "06:00")]}},
            "weekly: fri: 22:00-06:00 runs over midnight: write 22:00-24:00, and 00:00-06:00 on the next day",
        ),
        ({"weekly": {"fri": [("22:00", "00:00")]}}, "weekly: fri: 22:00-00:00 runs over midnight: write 22:00-24:00"),
        ({"weekly": {"fri": [("08:00", "08:00")]}}, "weekly: fri: 08:00-08:00 has no length"),
        (
            {"weekly": {"tue": [("12:00", "17:00"), ("08:00", "12:01")]}},
            "weekly: tue: 08:00-12:01 and 12:00-17:00 overlap",
        ),
        ({"days": {date(2026, 1, 1): [("9", "10:00")]}}, 'days: 2026-01-01: "9" is not a time of day'),
        ({"country": "de"}, 'country: "de" is not an ISO 3166 code'),
        ({"country": "XX"}, "country: no public holidays are known: Country XX not available"),
        (
            {"country": "DE", "region": "ZZ"},
            "country: no public holidays are known: Entity `DE` does not have subdivision ZZ",
        ),
        ({"region": "BW"}, 'region: "BW" needs a country'),
    ],
)
def test_what_is_wrong_is_named(faulty: Mapping[str, object], message: str) -> None:
    spec = {"zone": "Europe/Berlin", "weekly": OFFICE, "holidays": []} | dict(faulty)
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        build_calendar("faulty", **spec)  # type: ignore[arg-type]


def test_shifts_in_any_order_may_touch() -> None:
    touching = calendar({"mon": [("12:00", "24:00"), ("9:00", "12:00")]}, "UTC")
    assert touching.between(utc("2026-03-23"), utc("2026-03-24")) == 15 * HOUR


def test_calendars_of_the_same_hours_are_equal_however_used() -> None:
    used, fresh = calendar(), calendar()
    used.add(utc("2026-03-24T10:30"), HOUR)
    assert used == fresh
    assert hash(used) == hash(fresh)
    assert fresh != calendar(OFFICE, "UTC")
