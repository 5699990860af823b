"""The reward server against calling its model directly, in one process on the CPU: `pytest -m benchmark -s`."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from running_server import RunningServer
from tiny_models import tiny_config

from trl_dprm import DPRMConfig, DPRMForSequenceClassification
from trl_dprm.serving.scorer import Scorer
from trl_dprm.trainer.scoring import score_batch

pytestmark = pytest.mark.benchmark

CLIENTS = (1, 8, 32)
BATCH_SIZE = 32
REQUESTS = 320
ROUNDS = 3
LEAST_SHARE = 0.7  # of the direct throughput in batches of 32, from 32 clients
LEAST_SHARE_ALONE = 0.25  # of the direct throughput one at a time, from one client

# Clients that cost little: each posts one request after another on its connection, in a process of their own.
LOAD = """
import asyncio, json, sys, time
port, num_clients = int(sys.argv[1]), int(sys.argv[2])
bodies = [body.encode() for body in json.load(sys.stdin)]
seconds = []

async def client(mine):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in mine:
        start = time.perf_counter()
        head = "POST /score HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\n"
        writer.write(f"{head}Content-Length: {len(body)}\\r\\n\\r\\n".encode() + body)
        answer = await reader.readuntil(b"\\r\\n\\r\\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = next(line for line in answer.split(b"\\r\\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        seconds.append(time.perf_counter() - start)
    writer.close()

async def main():
    start = time.perf_counter()
    await asyncio.gather(*(client(bodies[k::num_clients]) for k in range(num_clients)))
    print(json.dumps({"elapsed": time.perf_counter() - start, "seconds": seconds}))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def scorer(tokenizer):
    """A llama of 1.3 million parameters with random weights."""
    torch.manual_seed(0)
    backbone = tiny_config("llama", hidden_size=160, intermediate_size=480, num_hidden_layers=4)
    tokenization = {"add_special_tokens": True, "append_eos": True, "max_length": None}
    config = DPRMConfig(backbone, anchored=True, tokenization=tokenization)
    return Scorer(DPRMForSequenceClassification(config).eval(), tokenizer)


@pytest.fixture(scope="module")
def texts():
    """Of 40 to 80 tokens."""
    draw = random.Random(0)
    return ["".join(draw.choices("abcdefgh ", k=draw.randint(38, 78))) for _ in range(REQUESTS)]


def direct(scorer, texts, batch_size):
    """Seconds in all and of each call, from texts to scores."""
    calls, start = [], time.perf_counter()
    for place in range(0, len(texts), batch_size):
        call = time.perf_counter()
        rows = [{"text": text} for text in texts[place : place + batch_size]]
        score_batch(scorer.model, scorer.item_ids(rows))
        calls.append(time.perf_counter() - call)
    return time.perf_counter() - start, calls


def served(port, texts, num_clients):
    """Seconds in all and of each request; the clients are a process of their own."""
    bodies = [json.dumps({"items": {"text": text}}) for text in texts]
    command = [sys.executable, "-c", LOAD, str(port), str(num_clients)]
    done = subprocess.run(command, input=json.dumps(bodies), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["elapsed"], result["seconds"]


def with_processor_time(way):
    """What a way returns, and the seconds of processor time of this process, which holds model and server."""
    start = time.process_time()
    elapsed, seconds = way()
    return elapsed, seconds, time.process_time() - start


def test_the_server_against_the_model(scorer, texts):
    """Rounds are interleaved; a ratio is the median of those of the rounds."""
    one, batched = "direct, one at a time", f"direct, batches of {BATCH_SIZE}"
    ways = {one: lambda: direct(scorer, texts, 1), batched: lambda: direct(scorer, texts, BATCH_SIZE)}
    server = RunningServer(lambda: scorer, max_batch_size=BATCH_SIZE)
    for num_clients in CLIENTS:
        ways[f"server, {num_clients} clients"] = lambda n=num_clients: served(server.port, texts, n)
    try:
        for way in ways.values():
            way()  # warms up
        rounds = [{name: with_processor_time(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    finally:
        server.stop()

    elapsed = {name: np.array([each[name][0] for each in rounds]) for name in ways}
    p99 = {name: np.array([np.percentile(each[name][1], 99) for each in rounds]) for name in ways}
    processor = {name: np.array([each[name][2] for each in rounds]) for name in ways}
    print(f"\n{REQUESTS} texts of 40 to 80 tokens, {torch.get_num_threads()} torch thread(s), {ROUNDS} rounds")
    for name in ways:
        rate = np.median(REQUESTS / elapsed[name])
        single, full = (np.median(elapsed[other] / elapsed[name]) for other in (one, batched))
        slower = np.median(p99[name] / p99[one])
        busier = np.median(processor[name] / processor[batched])
        print(
            f"{name:<24} {rate:6.1f} texts/s = {single:.2f} x one at a time = {full:.2f} x batched; p99 of a call "
            f"{1e3 * np.median(p99[name]):.1f} ms = {slower:.1f} x one at a time; processor {busier:.2f} x batched"
        )
    assert np.median(elapsed[batched] / elapsed[f"server, {max(CLIENTS)} clients"]) >= LEAST_SHARE
    assert np.median(elapsed[one] / elapsed["server, 1 clients"]) >= LEAST_SHARE_ALONE
