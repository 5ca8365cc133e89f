"""A short look at a lesson with other settings; prints each evaluation. Not part of the benchmark."""

import ast
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

from bench_languages import _AFTER, _COMMON
from rlfl_agents.config import PPOConfig, SFTConfig


def main() -> None:
    begun = time.monotonic()
    env_id, minutes = sys.argv[1], float(sys.argv[2])
    chosen = dict(a.split("=", 1) for a in sys.argv[3:])
    env = {k[4:]: _value(v) for k, v in chosen.items() if k.startswith("env.")}
    warm = {k[5:]: _value(v) for k, v in chosen.items() if k.startswith("warm.")}
    mine = {k: _value(v) for k, v in chosen.items() if "." not in k}
    settings = _COMMON | (_AFTER if warm else {}) | {"eval_every": 10} | mine
    config = PPOConfig(env_id=env_id, env_kwargs=env, seed=100, minutes=minutes, **settings)
    print(sys.argv[1:], config.total_samples // config.rows if hasattr(config, "rows") else "", flush=True)
    from rlfl_agents.ppo import train
    from rlfl_agents.sft import warm_start

    with tempfile.TemporaryDirectory() as folder:
        if warm:
            shared = {n: settings[n] for n in ("layers", "width", "heads", "threads", "eval_prompts")}
            sft = SFTConfig(env_id=env_id, env_kwargs=env, seed=100, device="cpu",
                            **({"epochs": 30, "learning_rate": 3e-3, "prompt_loss": False} | shared | warm))
            print(warm_start(sft, Path(folder) / "warm", quiet=True), f"{time.monotonic() - begun:.0f} s", flush=True)
            config = dataclasses.replace(config, model=str(Path(folder) / "warm"))
        train(dataclasses.replace(config, threads=1, device="cpu"), Path(folder) / "run", quiet=False)
        lines = (Path(folder) / "run" / "samples.jsonl").read_text().splitlines()
        print("\n".join(lines[-3:])[:3000])
        print(f"{time.monotonic() - begun:.0f} s", flush=True)


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
