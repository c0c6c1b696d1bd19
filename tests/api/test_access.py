"""Who may call, as rules: what holds for every request, however it was made."""

from __future__ import annotations

import base64
import json
from dataclasses import MISSING, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api.access import Caller, Kind, Refusal, judge, shut
from shared.settings import Access, SettingError, Settings, every_setting

NEEDED = {each.name: "x" for each in every_setting() if each.default is MISSING}
GROUPS = ("g-view", "g-both", "g-act", "g-other", "G-VIEW", "")
JSON = {"content-type": "application/json"}


def read(**given: str) -> Access:
    return Settings.read(NEEDED | given).api


KEY = read()
ENTRA = read(
    API_AUTH="entra",
    API_VIEWERS="G-View,g-both",
    API_OPERATORS="g-act g-both",
    WEBSITE_AUTH_ENABLED="True",
    WEBSITE_HOSTNAME="droptune.example",
)


def principal(*groups: str, typ: str = "groups", name: str = "ada") -> dict[str, str]:
    claims = [{"typ": typ, "val": group} for group in groups]
    text = json.dumps({"auth_typ": "aad", "claims": [{"typ": "name", "val": "g-act"}, *claims]})
    return {
        "X-MS-CLIENT-PRINCIPAL": base64.b64encode(text.encode()).decode(),
        "X-MS-CLIENT-PRINCIPAL-ID": "id",
        "X-MS-CLIENT-PRINCIPAL-NAME": name,
    }


def kind(judged: Caller | Refusal) -> Kind | None:
    return judged.kind if isinstance(judged, Refusal) else None


methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"])
names = st.sampled_from(
    [*principal(), "x-functions-key", "origin", "Host", "x-forwarded-host", "sec-fetch-site", "Content-Type"]
)
values = st.text(max_size=40) | st.sampled_from(
    [principal("g-both")["X-MS-CLIENT-PRINCIPAL"], "application/json", "https://droptune.example", "droptune.example"]
)
headers = st.dictionaries(names | st.text(max_size=20), values, max_size=8)


@given(st.text(max_size=8), st.booleans(), methods, headers)
def test_the_door_is_shut_to_all_where_it_can_not_be_kept(
    auth: str, platform: bool, method: str, given: dict[str, str]
) -> None:
    for settings in (
        replace(ENTRA, auth=auth, platform_login=platform),
        replace(ENTRA, platform_login=False),
    ):
        if settings.auth != "key":
            assert kind(judge(settings, method, given | principal("g-both") | JSON)) is Kind.SHUT
            assert shut(settings)


@given(methods, headers)
def test_with_keys_nobody_is_ever_proven(method: str, given: dict[str, str]) -> None:
    judged = judge(KEY, method, given | principal("g-both"))
    assert not (isinstance(judged, Caller) and judged.proven)


@given(methods, headers, st.binary(max_size=60))
def test_without_a_principal_that_can_be_read_nobody_gets_in(
    method: str, given: dict[str, str], principal_: bytes
) -> None:
    without = {name: value for name, value in given.items() if name.lower() != "x-ms-client-principal"}
    for value in (principal_.decode("latin-1"), base64.b64encode(principal_).decode()):
        assert kind(judge(ENTRA, method, without | JSON | {"x-ms-client-principal": value})) is Kind.NOBODY
    assert kind(judge(ENTRA, method, without | JSON)) is Kind.NOBODY


@given(methods, st.sets(st.sampled_from(GROUPS)), st.sampled_from(["groups", "roles", "name", "Groups"]), headers)
def test_groups_decide_who_looks_and_who_steps_in(
    method: str, groups: set[str], typ: str, given: dict[str, str]
) -> None:
    mine = {group.lower() for group in groups} if typ in ("groups", "roles") else set()
    judged = judge(ENTRA, method, {**given, **principal(*groups, typ=typ)})
    if not mine & ({"g-act", "g-both"} if method != "GET" else {"g-view", "g-act", "g-both"}):
        assert kind(judged) is Kind.NOT_ALLOWED
    elif method == "GET":
        assert judged == Caller("ada", proven=True)


@given(methods.filter(lambda method: method != "GET"), headers, st.sampled_from([KEY, ENTRA]))
def test_what_changes_something_comes_as_json_from_here(method: str, given: dict[str, str], settings: Access) -> None:
    judged = judge(settings, method, given | principal("g-act"))
    if isinstance(judged, Caller):
        lower = {name.lower(): value for name, value in given.items()}
        assert lower["content-type"] == "application/json"
        assert lower.get("sec-fetch-site", "none") in ("none", "same-origin")
        assert "origin" not in lower or lower["origin"] == "https://droptune.example"


hosts = st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5}){0,2}(:[1-9][0-9]{0,3})?", fullmatch=True)


@given(hosts, hosts, st.sampled_from(["http", "https"]), st.sampled_from(["Host", "X-Forwarded-Host"]))
def test_an_origin_is_own_if_the_request_was_sent_there(origin: str, host: str, scheme: str, header: str) -> None:
    default = {"http": ":80", "https": ":443"}[scheme]
    same = origin.removesuffix(default) == host.removesuffix(default)
    judged = judge(KEY, "POST", JSON | {"origin": f"{scheme}://{origin}", header: host})
    assert kind(judged) is (None if same else Kind.NOT_ALLOWED)


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("https://droptune.example", True),
        ("https://droptune.example:443", True),
        ("https://DROPTUNE.example", True),
        ("https://front.example", True),
        ("https://droptune.example:444", False),
        ("https://droptune.example.evil.example", False),
        ("https://droptune.example@evil.example", False),
        ("https://evil.example, https://droptune.example", False),
        ("droptune.example", False),
        ("null", False),
        ("", False),
        ("https://[", False),
        ("https://droptune.example:port", False),
        ("file://droptune.example", False),
    ],
)
def test_origins(origin: str, own: bool) -> None:
    given = JSON | principal("g-act") | {"X-Forwarded-Host": "other.example, front.example", "Origin": origin}
    assert (kind(judge(ENTRA, "POST", given)) is None) == own


def test_an_app_without_a_name_is_known_by_its_id() -> None:
    app = principal("g-act", typ="roles", name="")
    assert judge(ENTRA, "GET", app) == Caller("id", proven=True)
    assert kind(judge(ENTRA, "GET", app | {"X-MS-CLIENT-PRINCIPAL-ID": " "})) is Kind.NOBODY


def test_nobody_to_step_in_is_a_mistake_in_the_settings() -> None:
    for operators in ("", " , "):
        with pytest.raises(SettingError, match="API_OPERATORS is not set"):
            read(API_AUTH="entra", API_VIEWERS="a", API_OPERATORS=operators)
    for wrong in ("Entra", "none", "anonymous", "key,entra"):
        with pytest.raises(SettingError, match="is not one of key, entra"):
            read(API_AUTH=wrong)
    assert read(API_AUTH=" entra ", API_OPERATORS="A").operators == {"a"}


@pytest.mark.parametrize(("text", "on"), [("True", True), ("true", True), ("False", False), ("1", False), ("", False)])
def test_the_platform_is_there_if_azure_says_so(text: str, on: bool) -> None:
    settings = read(API_AUTH="entra", API_OPERATORS="a", WEBSITE_AUTH_ENABLED=text)
    assert (shut(settings) is None) == on
