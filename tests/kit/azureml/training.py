"""Stands in for the training process where only the routes around it are tested: tells events, writes the outputs.

`localcloud.training` really trains and is tested by itself; this one takes milliseconds. The job's parameter `seed`
chooses how it ends: FAILS or HANGS, anything else succeeds.
"""

import json
import sys
import time
from pathlib import Path

FAILS, HANGS = 13, 14
REASON = "row 7 of train.jsonl has no messages"
STEPS = (
    "chat_completion_model_import",
    "chat_completion_datapreprocess",
    "chat_completion_finetune",
    "ft_nlp_model_converter",
)


def main(folder: Path) -> int:
    """Do what folder/job.json says."""
    job = json.loads((folder / "job.json").read_text())
    with (folder / "events.jsonl").open("w", buffering=1) as events:

        def tell(**event: object) -> None:
            events.write(json.dumps(event) + "\n")

        for step in STEPS:
            tell(event="step", step=step, status="Running")
            if step == STEPS[2]:
                if job["parameters"]["seed"] == FAILS:
                    tell(event="error", step=step, message=REASON)
                    tell(event="step", step=step, status="Failed")
                    return 1
                while job["parameters"]["seed"] == HANGS:
                    time.sleep(0.05)
                for at, loss in enumerate((6.5, 3.25, 1.5)):
                    tell(event="metric", step=step, key="eval_loss", value=loss, at_step=at, of_steps=2)
            tell(event="step", step=step, status="Completed")
    model = Path(job["outputs"]) / "mlflow_model_folder"
    model.mkdir(parents=True)
    (model / "MLmodel").write_text(f"rows: {Path(job['train']).read_text().count(chr(10))}\n")
    sys.stdout.write("done\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
