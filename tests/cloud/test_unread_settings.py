"""Settings that are mistyped are told with the nearest one; what others read is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.stack import Stack
from shared.cloud.unread_settings import unread
from tests.kit.paths import ROOT
from tests.kit.settings import KNOWN


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_ACTIVE_JOB", "is MAX_ACTIVE_JOBS meant?"),
        ("MAX_TRAINING_HOUR", "is MAX_TRAINING_HOURS meant?"),
        ("CLEANUP_MOD", "is CLEANUP_MODE meant?"),
        ("DROPTUNE_STORAGE__queueServiceUrl", "is DROPTUNE_STORAGE__queueServiceUri meant?"),
        ("max_active_jobs", "for its case: it is named MAX_ACTIVE_JOBS"),
        ("AZURE_ML_WORKSPACE", "is AZUREML_WORKSPACE meant?"),
        ("APPSETTING_AZURE_ML_REGISTRY", "is AZUREML_REGISTRY meant?"),
        ("AZURE_RESOURCEGROUP", "is AZURE_RESOURCE_GROUP meant?"),
        ("APPSETTING_IDLE_DAYS", ""),
        ("APPSETTING_QWERTZ", ""),
        ("APPSETTING_ROLLOUT_GRAC", "is ROLLOUT_GRACE meant?"),
    ],
)
def test_a_name_that_nothing_reads_is_told_with_the_nearest(name: str, meant: str) -> None:
    [told] = unread({name: "1", "MAX_JOBS_PER_DAY": "2"})
    assert told.startswith(f"{name.removeprefix('APPSETTING_')} is a setting that nothing reads")
    assert told.endswith(meant)


@given(st.sampled_from(sorted(KNOWN)), st.data())
def test_a_letter_too_few_is_told_with_the_right_name(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:at] + name[at + 1 :]
    told = unread({f"APPSETTING_{wrong}": "", wrong: ""})
    assert name in told[0]


def test_what_others_read_is_not_told(cloud: Stack) -> None:
    foreign = (
        "PATH HOME HOSTNAME PORT LANG TZ DROPTUNE_URL DROPTUNE_APP DROPTUNE_KEY AZURE_TENANT_ID AZURE_CLIENT_SECRET "
        "AZURE_AUTHORITY_HOST AZURE_FEDERATED_TOKEN_FILE AZURE_FUNCTIONS_ENVIRONMENT HF_HOME HF_TOKEN HF_HUB_OFFLINE "
        "WEBSITE_SITE_NAME WEBSITE_INSTANCE_ID WEBSITE_SLOT_NAME WEBSITE_OWNER_NAME WEBSITE_RESOURCE_GROUP "
        "WEBSITE_HOME_STAMPNAME WEBSITE_DEPLOYMENT_ID WEBSITE_POD_NAME WEBSITE_RUN_FROM_PACKAGE WEBSITE_AUTH_ENABLED"
    )
    names = foreign.split()
    assert unread(dict.fromkeys(names, "") | {f"APPSETTING_{name}": "" for name in names[9:]} | cloud.environment) == []
    bicep = (ROOT / "infra" / "modules" / "app.bicep").read_text()
    infra = bicep.partition("name: 'appsettings'")[2].partition("\n}")[0]
    names = re.findall(r"^    ([A-Za-z_]+):", infra, re.MULTILINE)
    assert len(names) > 30
    assert unread({f"APPSETTING_{name}": "" for name in names}) == []
