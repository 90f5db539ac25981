"""The training loop, bounded by wall time, and the checkpoint folder it writes."""

from __future__ import annotations

import copy
import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm
from transformers import XLMConfig, XLMWithLMHeadModel

from .objectives import Batch, ExampleStream, endless_batches
from .vocabulary import BOS_ID, EOS_ID, LANG2ID, MASK_ID, PAD_ID, UNK_ID

MAX_POSITIONS = 256
WEIGHTS_EVERY_MINUTES = 3.0
WARM_UP_SHARE = 0.03
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0


def new_model(vocab_size: int) -> XLMWithLMHeadModel:
    """Makes the model with random weights: four post-LN blocks of width 256."""
    config = XLMConfig(
        vocab_size=vocab_size,
        emb_dim=256,
        n_layers=4,
        n_heads=8,
        dropout=0.1,
        attention_dropout=0.1,
        gelu_activation=True,
        n_langs=len(LANG2ID),
        use_lang_emb=True,
        max_position_embeddings=MAX_POSITIONS,
        bos_index=BOS_ID,
        eos_index=EOS_ID,
        pad_index=PAD_ID,
        unk_index=UNK_ID,
        mask_index=MASK_ID,
        mask_token_id=MASK_ID,
        lang_id=LANG2ID["en"],
        lang2id=LANG2ID,
        id2lang={str(i): lang for lang, i in LANG2ID.items()},
    )
    return XLMWithLMHeadModel(config)


def loss_of(model: XLMWithLMHeadModel, batch: Batch) -> torch.Tensor:
    """Cross entropy at the hidden tokens, summed; only their positions go through the output layer."""
    hidden = model.transformer(
        batch.input_ids, attention_mask=batch.attention_mask, langs=batch.langs, position_ids=batch.position_ids
    )[0]
    hidden = hidden.flatten(0, 1).index_select(0, batch.masked_positions)  # (P, dim)
    return functional.cross_entropy(model.pred_layer.proj(hidden), batch.labels, reduction="sum")


def write_weights(model: XLMWithLMHeadModel, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors` (float16) so that a reader sees the old or the new, never a part."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copy.deepcopy(model).half().save_pretrained(scratch)
        for name in ("model.safetensors", "config.json"):
            os.chmod(Path(scratch, name), 0o644)
            os.replace(Path(scratch, name), folder / name)


@dataclass
class Progress:
    """How far the training has come; saved beside the weights so that it can go on after an interruption."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Settings:
    """How to train.

    Args:
        minutes: wall time to train for, time before a resumption included.
        learning_rate: the peak.
        batch_tokens: tokens per batch, padding included.
        seed: of the batches and the masks.
        workers: processes that train at the same time, one thread each.
    """

    minutes: float
    learning_rate: float
    batch_tokens: int
    seed: int
    workers: int


def schedule(done: float) -> float:
    """Share of the peak learning rate when the share `done` of the time has passed: warm-up, then a half cosine."""
    if done < WARM_UP_SHARE:
        return done / WARM_UP_SHARE
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))))


def new_optimizer(model: XLMWithLMHeadModel) -> torch.optim.AdamW:
    """AdamW that decays matrices, but neither biases nor LayerNorm weights."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=BETAS, fused=True)


def _work(
    worker: int,
    model: XLMWithLMHeadModel,
    streams: list[ExampleStream],
    settings: Settings,
    counts: torch.Tensor,
    start: float,
    out: Path,
    work: Path,
    state: dict[str, Any] | None,
) -> None:
    """One worker's loop over the shared `model`; worker 0 also shows the progress and writes.

    Args:
        worker: which one, from 0.
        model: its weights lie in shared memory.
        streams: what to learn from.
        settings: how.
        counts: `(workers, 2)` int64, shared: steps and tokens of each worker; only its own row is written.
        start: the reading of `time.monotonic` at which the time began to run.
        out: the checkpoint folder.
        work: the folder of `state.pt`.
        state: what to resume from, if anything.
    """
    torch.set_num_threads(1)
    optimizer = new_optimizer(model)
    if state:
        optimizer.load_state_dict(state["optimizer"])
    rng = np.random.default_rng([settings.seed, worker, int(counts.sum())])
    limit = settings.minutes * 60
    average = None
    last_write = time.monotonic()
    done = Progress()
    # Evaluation mode is what switches dropout off: the data is seen too few times to be learned by heart, and without
    # dropout a step is faster and learns more. The configuration keeps 0.1 for fine-tuning.
    model.eval()
    with tqdm(total=round(limit), unit="s", mininterval=5, miniters=1, disable=worker > 0) as bar:
        for batch in endless_batches(streams, model.config.vocab_size, settings.batch_tokens, rng):
            steps, tokens = counts.sum(0).tolist()
            done = Progress(steps, tokens, time.monotonic() - start)
            if done.seconds >= limit:
                break
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(done.seconds / limit)
            # The weights and the optimizer stay float32; matrix products in bfloat16 double the speed.
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, batch) / len(batch.labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
            optimizer.step()
            optimizer.zero_grad()
            counts[worker] += torch.tensor([1, int(batch.attention_mask.sum())])
            if worker > 0:
                continue
            average = loss.item() if average is None else 0.99 * average + 0.01 * loss.item()
            bar.set_postfix_str(f"step {done.steps}, loss {average:.3f}, {done.tokens:,} tokens", refresh=False)
            bar.update(round(done.seconds) - bar.n)
            if time.monotonic() - last_write > WEIGHTS_EVERY_MINUTES * 60:
                write(model, optimizer, done, out, work)
                last_write = time.monotonic()
    if worker == 0:
        write(model, optimizer, done, out, work)


def write(model: XLMWithLMHeadModel, optimizer: torch.optim.AdamW, done: Progress, out: Path, work: Path) -> None:
    """Writes the weights to `out` and, for a resumption, everything to `work / "state.pt"`."""
    write_weights(model, out)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(done)}
    torch.save(state, work / "state.tmp")
    os.replace(work / "state.tmp", work / "state.pt")


def train(
    model: XLMWithLMHeadModel,
    streams: list[ExampleStream],
    settings: Settings,
    *,
    out: Path,
    work: Path,
    resume: bool = False,
) -> None:
    """Trains for a given time; the schedule follows the clock, so a slow machine ends with a finished schedule too.

    The workers update the same weights without waiting for each other ("Hogwild"). On a machine that has other things
    to do, threads that share one step all wait for the one that was interrupted, and most of the time is lost.

    Args:
        model: trained in place.
        streams: what to learn from.
        settings: how.
        out: the checkpoint folder; gets the weights every few minutes and at the end.
        work: gets `state.pt`, from which `resume` goes on.
        resume: go on from `work / "state.pt"`.
    """
    state = torch.load(work / "state.pt", weights_only=True) if resume else None
    before = Progress()
    if state:
        model.load_state_dict(state["model"])
        before = Progress(**state["progress"])
    model.share_memory()
    counts = torch.zeros((settings.workers, 2), dtype=torch.int64).share_memory_()
    counts[0] += torch.tensor([before.steps, before.tokens])
    start = time.monotonic() - before.seconds
    # Forked processes share the examples, which would take minutes and gigabytes to send.
    context = torch.multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_work, args=(i, model, streams, settings, counts, start, out, work, state))
        for i in range(settings.workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"workers ended with exit codes {[process.exitcode for process in processes]}, expected 0")
