"""The scoring script of every local deployment: a fine-tuned chat model behind Azure ML's inference server.

Azure ML's no-code deployment of an MLflow chat model brings its own scoring script; this one takes the same request and
gives the same answer. The inference server calls `init` once and `run` for each request to `/score`. It runs in the
model environment and reads only the folder that `AZUREML_MODEL_DIR` names: nothing is fetched.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from azureml_inference_server_http.api.aml_response import AMLResponse
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

log = logging.getLogger("azmlinfsrv.score")

DEFAULTS: dict[str, Any] = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 256}


class Served(NamedTuple):
    """What init() loads and run() uses."""

    model: Any
    tokenizer: Any


class BadRequest(ValueError):
    """The payload is at fault; the message says where."""


_served: Served | None = None


def init() -> None:
    """Load model and tokenizer. Raises when the folder does not hold exactly one MLflow model."""
    global _served
    disable_progress_bar()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.seed()  # torch starts from a constant: without this every deployment would sample the same texts
    folder = find_model(Path(os.environ["AZUREML_MODEL_DIR"]))
    tokenizer = AutoTokenizer.from_pretrained(_holding(folder, "tokenizer_config.json"), local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(_holding(folder, "config.json"), local_files_only=True).eval()
    if not tokenizer.chat_template:
        raise ValueError(f"The tokenizer in {folder} has no chat template: it can't be asked in messages.")
    _served = Served(model, tokenizer)
    log.info("serving %s, %s parameters", folder.name, f"{model.num_parameters():,}")


def run(data: str) -> Any:
    """Answer one conversation.

    `data`: `{"input_data": {"input_string": [messages], "parameters": {...}}, "params": {}}`, where messages is a list
    of `{"role", "content"}` and may also stand without the list around it. Answers `{"output": text}`, or 400 with why.
    """
    if _served is None:
        raise RuntimeError("run() was called before init()")
    try:
        messages, parameters = read_payload(data)
        return {"output": answer(_served, messages, parameters)}
    except BadRequest as error:
        return AMLResponse({"error": {"code": "BadRequest", "message": str(error)}}, 400, json_str=True)


def find_model(folder: Path) -> Path:
    """The MLflow model in `folder`: itself, or the one folder in it (Azure ML mounts the registered folder there)."""
    found = sorted(path.parent for pattern in ("MLmodel", "*/MLmodel") for path in folder.glob(pattern))
    if len(found) != 1:
        raise ValueError(
            f"{folder} must hold one MLflow model (a folder with the file MLmodel), it holds {len(found)}."
        )
    return found[0]


def _holding(folder: Path, name: str) -> Path:
    """Where in an MLflow model transformers saved something: flavors differ in the folders between."""
    if path := min(folder.rglob(name), key=lambda path: len(path.parts), default=None):
        return path.parent
    raise ValueError(f"There is no {name} anywhere in {folder}.")


def read_payload(data: str) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The messages and the complete generation parameters of a request. Raises BadRequest."""
    try:
        inputs = json.loads(data)["input_data"]
        conversation, given = inputs["input_string"], inputs.get("parameters") or {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest('The body must be {"input_data": {"input_string": [messages], "parameters": {}}}.') from error
    if isinstance(conversation, list) and len(conversation) == 1 and isinstance(conversation[0], list):
        conversation = conversation[0]
    if not isinstance(conversation, list) or not conversation:
        raise BadRequest("input_string must be a list that holds one conversation, a list of messages.")
    for number, message in enumerate(conversation):
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise BadRequest(f"Message {number} of input_string must have role and content, both strings.")
    return conversation, read_parameters(given)


def read_parameters(given: Any) -> dict[str, Any]:
    """The defaults with the request's parameters over them, checked. Raises BadRequest."""
    if not isinstance(given, dict):
        raise BadRequest("parameters must be an object.")
    if unknown := sorted(set(given) - set(DEFAULTS)):
        raise BadRequest(f"Unknown parameters: {', '.join(unknown)}. There are: {', '.join(DEFAULTS)}.")
    parameters = DEFAULTS | given
    number = (int, float)
    rules = {
        "do_sample": isinstance(parameters["do_sample"], bool),
        "temperature": type(parameters["temperature"]) in number and parameters["temperature"] > 0,
        "top_p": type(parameters["top_p"]) in number and 0 < parameters["top_p"] <= 1,
        "max_new_tokens": type(parameters["max_new_tokens"]) is int and parameters["max_new_tokens"] >= 1,
    }
    if wrong := [f"{name}={parameters[name]!r}" for name, right in rules.items() if not right]:
        raise BadRequest(
            f"Not usable: {', '.join(wrong)}. do_sample is a boolean, temperature above 0, top_p above 0 and "
            "at most 1, max_new_tokens a whole number from 1."
        )
    return parameters


def answer(served: Served, messages: list[dict[str, str]], parameters: dict[str, Any]) -> str:
    """What the model says next. Greedy unless do_sample. Raises BadRequest when the messages do not fit the model."""
    model, tokenizer = served
    try:
        encoded = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    except Exception as error:  # a template may refuse what it likes: the order of roles, a system message
        raise BadRequest(f"The model's chat template refuses these messages: {error}") from error
    length = encoded["input_ids"].shape[1]
    room = model.config.max_position_embeddings - length
    if room < 1:
        raise BadRequest(f"The messages are {length} tokens long; the model takes {length + room - 1} and an answer.")
    sampling = {name: parameters[name] for name in ("temperature", "top_p")} if parameters["do_sample"] else {}
    with torch.inference_mode():
        output = model.generate(
            **encoded,
            do_sample=parameters["do_sample"],
            max_new_tokens=min(parameters["max_new_tokens"], room),
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            **sampling,
        )
    return str(tokenizer.decode(output[0, length:], skip_special_tokens=True)).strip()
