"""Every page of the console in a real browser against a real node, in both languages and both themes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PAGES = {
    "overview": ("/", "stats"),
    "machine": ("/machines/oven", "tag-table"),
    "trend": ("/trend?tag=oven/zone1/temperature&tag=oven/zone2/temperature&from=-15m", "trend"),
    "alarms": ("/alarms", "alarm-list"),
    "gateway": ("/gateway", "gateway-health"),
}
KEEP_STREAM = """window.EventSource = class extends EventSource {
  constructor(...given) { super(...given); window.stream = this } }"""
CJK = re.compile(r"[\u3400-\u9fff]")


def series_days(url: str) -> float:
    """How many days a request for curves spans; 0 for any other request."""
    parts = urlsplit(url)
    if not parts.path.endswith("/series"):
        return 0.0
    asked = parse_qs(parts.query)
    return (float(asked["to"][0]) - float(asked["from"][0])) / 86_400_000


def contrast(page: Page) -> float:
    """The least contrast ratio (WCAG 2.2, 1.4.3) of the text tokens on the grounds they stand on."""
    return float(
        page.evaluate(
            """() => {
              const probe = document.createElement('i'); document.body.append(probe)
              const rgb = (name) => { probe.style.color = `var(--${name})`
                return getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number) }
              const lum = (c) => { const [r, g, b] = c.map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                return 0.2126 * r + 0.7152 * g + 0.0722 * b }
              let least = 99
              const pairs = []
              const alarms = ['urgent', 'high', 'medium', 'low', 'bad']
              for (const ink of ['text', 'text-2', 'text-3', 'link', ...alarms])
                for (const ground of ['bg', 'surface', 'raised', 'sunken']) pairs.push([ink, ground])
              for (const p of ['urgent', 'high', 'low']) pairs.push([`${p}-on`, p])
              pairs.push(['medium-on', 'medium-mark'])
              for (const p of alarms) pairs.push(['text', `${p}-soft`])
              for (const [ink, ground] of pairs) {
                const [a, b] = [lum(rgb(ink)), lum(rgb(ground))].sort((x, y) => y - x)
                least = Math.min(least, (a + 0.05) / (b + 0.05))
              }
              probe.remove()
              return least }"""
        )
    )


@pytest.mark.parametrize(
    ("lang", "theme"),
    [
        ("zh", "light"),
        ("en", "dark"),
        pytest.param("zh", "dark", marks=pytest.mark.full),
        pytest.param("en", "light", marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("name", PAGES)
def test_page_shows_its_widgets(open_page, name: str, lang: str, theme: str) -> None:
    path, widget = PAGES[name]
    page = open_page(path, lang=lang, theme=theme)
    expect(page.locator(f"[data-widget={widget}]").first).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN" if lang == "zh" else "en")
    expect(page.locator("html")).to_have_attribute("data-theme", theme)
    expect(page.get_by_test_id("link")).to_have_text("实时" if lang == "zh" else "Live")
    expect(page.locator(".loading")).to_have_count(0)
    assert "token" not in page.url
    text = page.locator("main").inner_text()
    assert "undefined" not in text and "NaN" not in text
    raw = re.findall(r"\b(?:tag|alarm|gateway|machine|trend|write|list|history|quality)\.[a-z_]+\b", text)
    assert raw == [], "a message key shows instead of its words"
    if lang == "en":
        assert not CJK.search(text), CJK.findall(text)
    assert contrast(page) >= 4.5
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page scrolls sideways"


def test_policy_is_strict_and_styles_stand(open_page) -> None:
    page = open_page("/")
    answer = page.request.get(page.url)
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "style-src 'self'" in policy
    assert "unsafe" not in policy
    expect(page.locator(".panel").first).to_be_visible()
    assert page.locator("style").count() == 0
    assert page.evaluate("document.adoptedStyleSheets.length") > 0


def test_first_load_stays_small(open_page) -> None:
    page = open_page("/")
    expect(page.locator("[data-widget=stats]")).to_be_visible()
    size = page.evaluate(
        "performance.getEntriesByType('resource').filter((r) => r.name.includes('/assets/'))"
        ".reduce((sum, r) => sum + r.encodedBodySize, 0)"
    )
    assert 0 < size < 500_000


def test_sign_in_by_hand_and_out(open_page, console_url: str) -> None:
    page = open_page("/", signed_in=False, faults=True)
    field = page.locator("input#token")
    field.fill("not the token")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    field.fill(console_url.partition("#token=")[2])
    field.press("Enter")
    expect(page.locator("[data-widget=stats]")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("input#token")).to_be_visible()


def test_language_and_theme_switch_in_place(open_page) -> None:
    page = open_page("/", lang="zh")
    expect(page.locator("h1")).to_have_text("全厂总览")
    page.evaluate("window.same = true")
    page.get_by_test_id("language").click()
    expect(page.locator("h1")).to_have_text("Plant overview")
    page.get_by_test_id("theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("window.same") is True
    page.reload()
    expect(page.locator("h1")).to_have_text("Plant overview")


def test_overview_counts_and_leads_to_the_machine(open_page) -> None:
    page = open_page("/")
    expect(page.locator("[data-stat=completeness]")).to_contain_text("%")
    page.locator("[data-machine=oven]").click()
    expect(page).to_have_url(re.compile(r"/machines/oven$"))
    expect(page.locator("h1")).to_have_text("Curing oven")
    page.go_back()
    expect(page.locator("[data-widget=line-mimic]")).to_be_visible()


def test_machine_values_are_live_with_bars_and_limits(open_page) -> None:
    page = open_page("/machines/oven")
    parts = page.locator("[data-widget=tag-table] tr.group")
    # titled parts first, in the order of the configuration; others by their id
    expect(parts).to_have_text(["Zone 2", "Zone 1", "zone3", "zone4"])
    row = page.locator("[data-widget=tag-table] tr.item", has_text="Zone 1 temperature")
    value = row.locator("td").nth(1)
    expect(value).to_contain_text("°C")
    before = value.inner_text()
    expect(value).not_to_have_text(before)
    expect(row.locator("svg.bar .limit")).to_have_count(1)
    expect(row.locator("svg.bar")).to_have_attribute("aria-label", re.compile("high limit 220"))


def test_bad_quality_says_why(open_page) -> None:
    page = open_page("/machines/washer")
    row = page.locator("[data-widget=tag-table] tr.item", has_text="Bath temperature")
    expect(row.locator(".quality.bad").last).to_be_visible()
    expect(row.locator(".quality.bad").last).to_have_attribute("title", re.compile(r"Bad · .+ · 0x80"))


def test_write_is_confirmed_read_back_and_kept(open_page) -> None:
    page = open_page("/machines/oven")
    row = page.locator("[data-widget=tag-table] tr.item", has_text="Zone 2 setpoint")
    row.get_by_role("button").last.click()
    form = page.locator("[data-widget=write-control]")
    entry = form.locator(".enter input")
    expect(entry).to_be_focused()
    entry.fill("185")
    entry.press("Tab")
    form.get_by_placeholder("For example").fill("browser test")
    form.get_by_role("button", name="Review and write").click()
    page.get_by_test_id("write-confirm").click()
    result = page.get_by_test_id("write-result")
    expect(result).to_contain_text("read back the same")
    expect(result).to_contain_text("185")
    audit = page.locator("[data-widget=write-audit] tr.item").first
    expect(audit).to_contain_text("browser test")
    expect(audit).to_contain_text("oven/zone2/setpoint")


def test_write_outside_the_range_is_refused_before_it_is_sent(open_page) -> None:
    page = open_page("/machines/oven")
    form = page.locator("[data-widget=write-control]")
    form.locator(".enter input").fill("9000")
    form.locator(".enter input").press("Tab")
    form.get_by_placeholder("For example").fill("too much")
    expect(form.locator(".wrong")).to_contain_text("Outside the range")
    expect(form.get_by_role("button", name="Review and write")).to_be_disabled()


def test_alarm_rises_is_acknowledged_and_shelved(open_page, request: pytest.FixtureRequest) -> None:
    device = request.getfixturevalue("device")
    page = open_page("/alarms")
    row = page.locator("tr.item", has_text="Oven too hot")
    device.base = 240.0
    try:
        expect(row).to_contain_text("Active, unacknowledged")
        expect(page.get_by_test_id("alarm-badge")).to_contain_text("1")
        row.get_by_role("button", name="Acknowledge").click()
        page.get_by_test_id("alarm-do").click()
        expect(row).to_contain_text("Active, acknowledged")
        row.get_by_role("button", name="Shelve").click()
        page.get_by_placeholder("For example").fill("browser test")
        page.get_by_test_id("alarm-do").click()
        expect(row).to_contain_text("Shelved")
        row.get_by_role("button", name="Unshelve").click()
        page.get_by_test_id("alarm-do").click()
        expect(row).not_to_contain_text("Shelved")
    finally:
        device.base = 180.0
    # an alarm that came back from the shelf wants to be seen again (ISA-18.2)
    expect(row).to_contain_text("Cleared, unacknowledged")
    row.get_by_role("button", name="Acknowledge").click()
    page.get_by_test_id("alarm-do").click()
    expect(row).to_contain_text("Normal")
    row.locator("button.what").click()
    expect(page.locator(".events li").first).to_be_visible()
    why = page.locator(".alarm-detail .why li.decides")
    expect(why).to_contain_text("does not hold")
    expect(why).to_contain_text("oven/zone1/temperature > 220")
    expect(why.locator(".tag")).to_contain_text("°C")


def test_alarm_filters_stand_in_the_address(open_page) -> None:
    page = open_page("/alarms?priority=low")
    expect(page.get_by_text("No alarm passes the filters")).to_be_visible()
    page.get_by_test_id("filter-priority").click()
    page.get_by_text("Any priority", exact=True).last.click()
    expect(page.locator("tr.item")).to_have_count(1)
    page.go_back()
    expect(page.get_by_text("No alarm passes the filters")).to_be_visible()


def test_trend_zooms_from_raw_to_a_year_by_the_address(open_page) -> None:
    page = open_page(PAGES["trend"][0])
    chart = page.get_by_test_id("trend-chart")
    expect(chart.locator("canvas")).to_be_visible()
    expect(page.locator("[data-widget=trend]")).to_contain_text("Raw values")
    with page.expect_response(lambda r: series_days(r.url) > 360) as asked:
        page.locator("[data-preset='-365d']").click()
    expect(page).to_have_url(re.compile("from=-365d"))
    year_ago = str(datetime.now(UTC).year - 1)
    status = page.locator("[data-widget=trend] .status")
    expect(status).to_contain_text(year_ago)
    expect(status).to_contain_text("least, mean, greatest")
    expect(status.locator("[role=status]")).to_have_count(0)  # nothing is being loaded: the picture stands
    answer = asked.value.json()
    one = next(s for s in answer["series"] if s["tag"] == "oven/zone1/temperature")
    assert not one["raw"] and one["every_ms"] >= 3_600_000
    assert 250 <= len(one["time"]) <= 1500, "no more buckets than pixels, and a year of them"
    away = max(b - a for a, b in zip(one["time"], one["time"][1:], strict=False)) / 86_400_000
    assert 29 <= away <= 32, "the missing month is missing"
    day = [i for i, high in enumerate(one["max"]) if high < 175]  # of the past, not of the simulator
    assert max(one["max"][i] for i in day) == pytest.approx(170, abs=0.5)
    assert min(one["min"][i] for i in day) == pytest.approx(130, abs=0.5)
    row = page.locator("[data-widget=trend] tbody tr", has_text="oven/zone1/temperature")
    expect(row).to_contain_text("130.0")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.6, height)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, height, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=20\d\d-.*to=20\d\d-"))
    selected = page.url
    page.mouse.wheel(0, -400)
    page.wait_for_url(lambda url: url != selected)
    expect(page).to_have_url(re.compile(r"from=20\d\d-.*to=20\d\d-"))
    chart.focus()
    page.keyboard.press("0")
    expect(page).to_have_url(re.compile("from=-1h"))
    page.locator("[data-widget=trend] tbody tr").last.get_by_role("button", name=re.compile("Remove")).click()
    expect(page.locator("[data-widget=trend] tbody tr")).to_have_count(1)


def test_trend_adds_a_tag_that_is_searched(open_page) -> None:
    page = open_page("/trend")
    expect(page.get_by_text("Choose the tags to look at")).to_be_visible()
    picker = page.get_by_test_id("tag-picker")
    picker.click()
    picker.locator("input").fill("zone3")
    page.locator(".n-base-select-option", has_text="Zone 3 temperature").click()
    expect(page).to_have_url(re.compile(r"tag=oven(/|%2F)zone3(/|%2F)temperature"))
    expect(page.get_by_test_id("trend-chart").locator("canvas")).to_be_visible()


def test_gateway_shows_the_fault_and_the_plan(open_page) -> None:
    page = open_page("/gateway")
    missing = page.locator("tr.item", has_text="A device that is not there")
    expect(missing).to_contain_text(re.compile("Waiting to retry|Offline|Connecting"))
    page.get_by_role("button", name=re.compile("Oven controller")).click()
    expect(page.get_by_text("Read plan")).to_be_visible()
    expect(page.locator(".area svg").first).to_be_visible()
    expect(page.get_by_text(re.compile(r"8 tags in \d+ requests"))).to_be_visible()


def test_keyboard_alone_reaches_everything(open_page) -> None:
    page = open_page("/")
    expect(page.locator("[data-widget=stats]")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for keys, where in (("gt", "/trend"), ("ga", "/alarms"), ("gw", "/gateway"), ("go", "/")):
        for key in keys:
            page.keyboard.press(key)
        expect(page).to_have_url(re.compile(re.escape(where) + "$"))
    page.keyboard.press("?")
    expect(page.get_by_text("Keyboard shortcuts").last).to_be_visible()
    page.keyboard.press("Escape")
    page.goto(page.url.rstrip("/") + "/machines/oven")
    page.locator("tr.item").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("tr.item").nth(1)).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("[data-search] input").first).to_be_focused()
    page.keyboard.type("setpoint")
    expect(page.locator("[data-widget=tag-table] tr.item")).to_have_count(4)


def test_list_exports_what_is_shown(open_page) -> None:
    page = open_page("/machines/oven")
    expect(page.locator("[data-widget=tag-table] tr.item")).to_have_count(8)
    with page.expect_download() as download:
        page.locator("[data-widget=tag-table]").get_by_role("button", name="Export CSV").click()
    text = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    assert text.count("\r\n") == 9
    assert "oven/zone1/temperature" in text and "°C" in text


def test_lost_stream_greys_the_values_and_comes_back(open_page) -> None:
    page = open_page("/machines/oven", faults=True, script=KEEP_STREAM)
    expect(page.get_by_test_id("link")).to_have_text("Live")
    value = page.locator("[data-widget=tag-table] .live").first
    expect(value).to_be_visible()  # the stream may well be live before there is a table to grey
    page.route("**/api/v1/stream*", lambda route: route.abort())
    page.evaluate("window.stream.close(), window.stream.dispatchEvent(new Event('error'))")
    expect(page.get_by_test_id("lost")).to_be_visible()
    grey = page.evaluate(
        """() => { const probe = document.createElement('i'); document.body.append(probe)
          probe.style.color = 'var(--text-3)'; const grey = getComputedStyle(probe).color
          probe.remove(); return grey }"""
    )
    expect(value).to_have_css("color", grey)
    expect(page.get_by_role("button", name="Reconnect now")).to_be_visible()
    page.unroute("**/api/v1/stream*")
    # tries come after 1, 2, 4, 8, 15 s: the next may be that far away, and takes its time
    expect(page.get_by_test_id("link")).to_have_text("Live", timeout=40_000)
    expect(page.get_by_test_id("lost")).to_have_count(0)


def test_fault_of_the_api_is_told_with_a_retry(open_page) -> None:
    problem = {"status": 503, "code": "api.busy", "zh": "节点繁忙，请稍后重试", "en": "busy; try again"}
    page = open_page("/", lang="zh", faults=True)
    expect(page.locator("[data-widget=stats]")).to_be_visible()
    body = json.dumps(problem)
    page.route(
        "**/api/v1/history/stats",
        lambda route: route.fulfill(status=503, content_type="application/problem+json", body=body),
    )
    page.locator("nav a").last.click()
    fault = page.locator("[data-widget=history-stats] [role=alert]")
    expect(fault).to_contain_text("节点繁忙，请稍后重试")
    page.unroute("**/api/v1/history/stats")
    fault.get_by_role("button", name="重试").click()
    expect(page.locator("[data-widget=history-stats] dl")).to_be_visible()


def test_unknown_page_leads_home(open_page) -> None:
    page = open_page("/nowhere/at/all", lang="zh")
    expect(page.get_by_text("没有这个页面")).to_be_visible()
    page.get_by_role("link", name="回到总览").click()
    expect(page.locator("[data-widget=stats]")).to_be_visible()
