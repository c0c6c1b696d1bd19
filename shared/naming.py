"""Every name that Droptune gives, derived from what it is for, and what a name that others give has to look like.

Of its own names nothing is random and nothing is counted: whoever makes a job, model, deployment or endpoint gets its
name here, so that doing a step twice hits the same resource, and `recover` gets the same name again. Names that Azure
holds unique, and names that had to be altered to be allowed, carry a hash of the raw key, so that cutting and cleaning
can't let two keys meet. The installation is part of every key: two of them in one workspace give no name twice. Tags
say the same once more, and `made_for` holds the two against each other: a copy takes tags along, but no name.

The names of others end in addresses, as ours do. Azure's SDKs and the hub's put some of them there as they are: `..`,
`#` or `?` in one would ask for another address than was meant. So `refused` judges each where it enters, and once more
in shared/cloud/ just before it is used: a setting, a key of finetune.yaml, an event, a tag, a listing, an argument.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

ASSET_LENGTH = 255
ENDPOINT_LENGTH = 32
_HASH_LENGTH = 10
_JOB = re.compile(r"r[a-z0-9]{15}-[1-9][0-9]*")


CLEAN = r"^(?![\s\S]*[\x00-\x1f\x7f-\x9f])"
"""Beginning of every text's pattern: no control character, a line break at the end included, which `$` lets pass."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of name that others give. `pattern` is for both Python and ECMAScript; `must` says it in words."""

    what: str
    pattern: str
    must: str


def _asset_kind(what: str) -> Kind:
    must = f"1 to {ASSET_LENGTH} letters (a to z), digits, -, _ and ., of which the first is a letter or digit"
    return Kind(what=what, pattern=CLEAN + rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{ASSET_LENGTH - 1}}}$", must=must)


def _resource_kind(what: str) -> Kind:
    must = "1 to 64 letters (a to z), digits, - and _, of which the first is a letter or digit"
    return Kind(what=what, pattern=CLEAN + r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", must=must)


BASE_MODEL = _asset_kind("a base model's name")
MODEL = _asset_kind("a model's name")
COMPONENT = _asset_kind("a component's name")
VERSION = _asset_kind("a version")
JOB = _asset_kind("a job's name")
REGISTRY = _resource_kind("a registry's name")
COMPUTE = _resource_kind("a compute's name")
ENDPOINT = _resource_kind("an endpoint's name")
DEPLOYMENT = _resource_kind("a deployment's name")
ID = _resource_kind("an id")
FOLDER = Kind(
    what="a dataset folder's name",
    pattern=CLEAN + r"(?![.]{1,2}$)[^/]+$",
    must="the part of a blob's path before its first slash, in one line, and neither . nor ..",
)
_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
HUB_DATASET = Kind(
    what="a dataset's name",
    pattern=CLEAN + rf"(?!.*(?:--|[.][.]|[.]git$))(?:{_WORD}/)?{_WORD}$",
    must="owner/name or name of a dataset on the Hugging Face Hub",
)
HUB_SOURCE = Kind(
    what="a dataset of the Hub",
    pattern=CLEAN
    + rf"(?:(?!.*(?:--|[.][.]|[.]git$))(?:{_WORD}/)?{_WORD}"
    + r"|(?:https?://|hf://|datasets/|(?:www[.])?huggingface[.]co/|hf[.]co/)\S+)$",
    must="owner/name or name of a dataset on the Hugging Face Hub, or its address there",
)
HUB_SPLIT = Kind(
    what="a split",
    pattern=CLEAN + r"[A-Za-z0-9_]+(?:[.][A-Za-z0-9_]+)*$",
    must="the name of a split (letters, digits, _ and .)",
)
HUB_REVISION = Kind(
    what="a revision",
    pattern=CLEAN + r"(?![./-])(?!.*(?:[.][.]|//|/[.]|@\{|[.]lock(?:/|$)|[./]$))[^\s~^:?*\[\\]+$",
    must="a branch, tag or commit as git allows it (no .., no blanks, none of ~ ^ : ? * [ and \\)",
)
HUB_CONFIG = Kind(
    what="a configuration",
    pattern=CLEAN + r"(?![.]{1,2}$)[^<>:/\\|?*]*[^\s<>:/\\|?*][^<>:/\\|?*]*$",
    must="the name of a configuration on the Hugging Face Hub (none of < > : / \\ | ? *)",
)
HUB_COMMIT = Kind(what="a commit", pattern=CLEAN + r"[0-9a-f]{40}$", must="40 hex digits")


PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "num_train_epochs": ("epochs", "num_epochs", "n_epochs", "epoch", "train_epochs"),
    "max_steps": ("steps", "training_steps", "num_train_steps"),
    "learning_rate": ("lr", "learning_rate_multiplier", "base_learning_rate"),
    "lr_scheduler_type": ("lr_scheduler", "scheduler", "learning_rate_scheduler"),
    "warmup_steps": ("warmup", "num_warmup_steps"),
    "per_device_train_batch_size": ("batch_size", "micro_batch_size", "train_batch_size"),
    "per_device_eval_batch_size": ("eval_batch_size",),
    "auto_find_batch_size": (),
    "gradient_accumulation_steps": ("grad_accum", "gradient_accumulation", "accumulation_steps"),
    "eval_accumulation_steps": (),
    "batch_size": (),
    "max_seq_length": ("sequence_len", "cutoff_len", "max_length", "seq_len", "max_seq_len", "context_length"),
    "pad_to_max_length": ("padding",),
    "apply_lora": ("lora", "use_lora", "use_peft"),
    "merge_lora_weights": ("merge_lora",),
    "lora_r": ("lora_rank", "rank", "r"),
    "lora_alpha": ("alpha",),
    "lora_dropout": (),
    "optim": ("optimizer", "optimiser"),
    "weight_decay": ("decay",),
    "adam_beta1": ("beta1",),
    "adam_beta2": ("beta2",),
    "adam_epsilon": ("epsilon",),
    "max_grad_norm": ("grad_clip", "gradient_clipping", "clip_grad_norm"),
    "precision": ("fp16", "bf16", "dtype"),
    "seed": ("random_seed", "data_seed"),
    "enable_full_determinism": ("full_determinism",),
    "dataloader_num_workers": ("num_workers", "workers"),
    "ignore_mismatched_sizes": (),
    "evaluation_strategy": ("eval_strategy",),
    "evaluation_steps_interval": (),
    "eval_steps": ("evaluation_steps",),
    "logging_strategy": (),
    "logging_steps": (),
    "metric_for_best_model": (),
    "resume_from_checkpoint": ("resume",),
    "save_total_limit": ("save_limit",),
    "apply_early_stopping": ("early_stopping",),
    "early_stopping_patience": ("patience",),
    "early_stopping_threshold": (),
    "apply_deepspeed": ("use_deepspeed",),
    "deepspeed_stage": ("zero_stage", "zero"),
    "apply_ort": ("ort",),
    "trust_remote_code": (),
    "shm_size_finetune": ("shm_size",),
    "evaluation_config_params": (),
}
"""Parameters of a fine-tuning, by their names in the registry's component, and what other tools call them."""


def called(names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """What something may be called, in small letters -> its name. What others call a thing comes before own names."""
    return {name.lower(): name for name in names} | {
        each.lower(): name for name, also in names.items() for each in also
    }


def refused(kind: Kind, name: str) -> str:
    """Why `name` can't be one of that kind, in a sentence that quotes it and says what it has to be; "" if it can."""
    if re.search(kind.pattern, name) and is_unicode(name):
        return ""
    return f"{reprlib.repr(name)} is not {kind.what}: it must be {kind.must}"


def has_steps(path: str) -> bool:
    """Whether a path has a part that is `.` or `..`: clients take those for steps, and ask for another path."""
    return not {".", ".."}.isdisjoint(path.split("/"))


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: half of a surrogate pair can't."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def run_id(
    dataset_path: str, etags: Mapping[str, str], spec_etag: str | None, ordinal: int, *, installation: str
) -> str:
    """Id of the run that an upload starts: `r` and 15 of a-z2-7.

    `etags` maps each file that the run takes to its ETag, quoted or not; `ordinal` is 0 for an upload, and higher for
    what a person asks for in its place (see `again_id`).
    """
    files = sorted((name, _bare(etag)) for name, etag in etags.items())
    spec = None if spec_etag is None else _bare(spec_etag)
    return "r" + _hash(installation, dataset_path, files, spec, ordinal, length=15)


def again_id(line: str, uploaded: str, model: str, ordinal: int) -> str:
    """Id of the run that serves a model of the line again, in the place of what was uploaded at `uploaded`.

    Unlike an upload's it has no files: those are perhaps gone. Whoever asks for the same again gets the same run.
    """
    return run_id(f"{line}@{uploaded}", {model: ""}, None, ordinal, installation="")  # the line's id is of one


def line_id(dataset: str, base_model: str, *, installation: str) -> str:
    """Id of the line of models that one dataset folder makes from one base model: `l` and 15 of a-z2-7."""
    return "l" + _hash(installation, dataset, base_model, length=15)


def job_name(run: str, attempt: int) -> str:
    """Azure ML job of this attempt."""
    return _attempt(run, attempt)


def run_of_job(job: str) -> str | None:
    """The run whose job has this name, if it is one that `job_name` may have given; asks nobody."""
    return job.rpartition("-")[0] if _JOB.fullmatch(job) else None


def is_id(text: str) -> bool:
    """Whether a text can be a run's id or a line's, so that it may stand in a blob's name.

    Of any id that comes from outside this is asked first. Whether there is such a run or line only storage knows.
    """
    return not refused(ID, text)


def model_version(run: str, attempt: int) -> str:
    """Version of the model that this attempt registers: no other run or attempt has it."""
    return _attempt(run, attempt)


def deployment_name(run: str, attempt: int) -> str:
    """Deployment of this attempt below its line's endpoint: 3 to 32 letters, digits and single dashes."""
    return _attempt(run, attempt)


def model_name(model: str, dataset: str) -> str:
    """Name of the registered model, `<model>-<dataset>` with `/` as `-`; all versions of a line share it.

    A character that Azure ML refuses, or a name beyond 255 characters, is cleaned away and a hash of the raw names put
    in its place. `a/b` and `a-b` meet, as in the notebook; their versions don't.
    """
    return _asset(f"{model}-{dataset}", model, dataset)


def experiment_name(model: str) -> str:
    """Experiment of all fine-tune jobs of a base model: `chat_completion_<model>` with `/` as `-`."""
    return _asset(f"chat_completion_{model}", model)


def endpoint_name(
    dataset: str, base_model: str, subscription: str, group: str, workspace: str, *, installation: str
) -> str:
    """Name of a line's endpoint, unique in its region: what can be read of its dataset, then a hash of everything.

    3 to 32 letters, digits and single dashes, a letter first. Subscription, group and workspace count without their
    case, as Azure takes them.
    """
    line_key = f"{dataset}/{base_model}"
    scope = [part.lower() for part in (subscription, group, workspace)]
    slug = re.sub(r"[^a-z0-9]+", "-", line_key.lower()).strip("-")
    if not slug[:1].isalpha():
        slug = f"ft-{slug}"
    slug = slug[: ENDPOINT_LENGTH - _HASH_LENGTH - 1].strip("-")
    return f"{slug}-{_hash(installation, dataset, base_model, *scope, length=_HASH_LENGTH)}"


def display_name(*, model: str, dataset: str, parameters: Mapping[str, object], gpus_per_node: int, nodes: int) -> str:
    """What a fine-tune job is called on the portal's page, as the notebook composed it from the job's parameters.

    `bs` is the effective batch: per device x gradient accumulation x GPUs per node x nodes. A parameter that is not
    there has the component's default.
    """

    def given(name: str, default: str) -> str:
        return str(parameters.get(name, default))

    batch = int(given("per_device_train_batch_size", "1")) * int(given("gradient_accumulation_steps", "1"))
    stage = f"ds{given('deepspeed_stage', '2')}" if given("apply_deepspeed", "false") == "true" else "nods"
    lora = "lora" if given("apply_lora", "false") == "true" else "nolora"
    return (
        f"{model}-{dataset}-bs{batch * gpus_per_node * nodes}-{given('lr_scheduler_type', 'linear')}-{stage}-{lora}"
        f"-save_limit{given('save_total_limit', '-1')}-seqlen{given('max_seq_length', '-1')}"
    )


# Whose a name is -----------------------------------------------------------------------------------------------------

RUN_TAG = "droptune.run"
ATTEMPT_TAG = "droptune.attempt"
LINE_TAG = "droptune.line"
INSTALLATION_TAG = "droptune.installation"
OWNER_TAGS = (RUN_TAG, ATTEMPT_TAG, LINE_TAG, INSTALLATION_TAG)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a job, a model's version or a deployment was made for: an attempt of a run of a line."""

    run: str
    attempt: str
    line: str
    installation: str


def tag(tags: Mapping[str, str], name: str) -> str | None:
    """The value of a tag. Azure's tags have names without case: policies and people write them as they like."""
    found = tags.get(name)
    if found is not None:
        return found
    return next((value for key, value in tags.items() if key.lower() == name.lower()), None)


def made_for(name: str, tags: Mapping[str, str]) -> Made | None:
    """What the job, model's version or deployment of this name and these tags was made for; None: by somebody else.

    A copy carries the tags of what it was copied from, but not the name that they make.
    """
    run, attempt, line, installation = (tag(tags, each) for each in OWNER_TAGS)
    if not (run and attempt and line and installation) or name != f"{run}-{attempt}":
        return None
    return Made(run=run, attempt=attempt, line=line, installation=installation)


def same_owner(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether what has `tags` was made for the same as what is about to be made with `wanted`."""
    return all(tag(tags, each) == tag(wanted, each) for each in OWNER_TAGS)


def _attempt(run: str, attempt: int) -> str:
    if attempt < 0:
        raise ValueError(f"attempt {attempt} of run {run} is negative")
    return f"{run}-{attempt}"


def _asset(wanted: str, *raw: str) -> str:
    """`wanted` as a name that Azure ML takes for assets: letters, digits, `-_.`, the first a letter or digit."""
    name = wanted.replace("/", "-")
    clean = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    if not re.match(r"[A-Za-z0-9]", clean):
        clean = f"m{clean}"
    if clean == name and len(name) <= ASSET_LENGTH:
        return name
    return f"{clean[: ASSET_LENGTH - _HASH_LENGTH - 1]}-{_hash(*raw, length=_HASH_LENGTH)}"


def _hash(*key: object, length: int) -> str:
    # JSON keeps ("a", "bc") and ("ab", "c") apart; base32 gives 5 bits a character, in lower case and without `_`.
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:length]


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


MOST_TAGS, OWN_TAGS = 34, "droptune."
"""Azure lets a resource have 50 tags, and Droptune's own are 15 at most; their names begin like this."""
_NAME, _VALUE = 512, 256
"""Characters that Azure lets a tag have."""
_NOT_IN_NAMES = frozenset("<>%&\\?/")
_RESERVED = ("microsoft", "azure", "windows")
"""Azure refuses names that begin like this."""


def read_tags(text: str) -> tuple[tuple[str, str], ...]:
    """`a=b,c=d`, or a JSON object, whose values may have commas. Raises ValueError."""
    found = _tags_of_json(text) if text.startswith("{") else _tags_of_list(text)
    for name, value in found:
        if why := _wrong_with_tag(name, value):
            raise ValueError(f"tags for Azure: {name[:60]!r} {why}")
    if len({name.casefold() for name, _ in found}) < len(found):
        raise ValueError("tags for Azure: a name is there twice, and Azure takes no notice of its case")
    if len(found) > MOST_TAGS:
        raise ValueError(f"tags for Azure: there are {len(found)}, and {MOST_TAGS} at most have room beside Droptune's")
    return found


def _tags_of_json(text: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except ValueError:
        raise ValueError('tags as a JSON object, as in {"costCenter": "42"}') from None
    if not all(isinstance(value, str) for _, value in pairs):
        raise ValueError('tags as a JSON object of texts, as in {"costCenter": "42"}')
    return tuple((name.strip(), value) for name, value in pairs)


def _tags_of_list(text: str) -> tuple[tuple[str, str], ...]:
    parts = [each.partition("=") for each in text.split(",") if each.strip()]
    if not all(equals for _, equals, _ in parts):
        raise ValueError("tags as in costCenter=42,owner=ml team, or a JSON object where a value has a comma")
    return tuple((name.strip(), value.strip()) for name, _, value in parts)


def _wrong_with_tag(name: str, value: str) -> str:
    if not 1 <= len(name) <= _NAME:
        return f"needs a name of 1 to {_NAME} characters"
    if bad := sorted(_NOT_IN_NAMES & set(name)) or [each for each in name + value if not each.isprintable()]:
        return f"may not have {bad[0]!r}"
    if name.casefold().startswith((OWN_TAGS, *_RESERVED)):
        return f"begins like tags that are not yours to set: {', '.join((OWN_TAGS, *_RESERVED))}"
    return f"has a value of more than {_VALUE} characters" if len(value) > _VALUE else ""
