"""The Hub: its cache is enough, its absence is told quickly, its errors are told plainly."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch

from interp.models import ModelError, ModelSpec, hub, load_model

# Loads each name given, with no network, and reports what came of it and how often it tried.
LOADER = """
import json, socket, sys
import torch
torch.set_num_threads(1)

tries = []
def refuse(*args, **kwargs):
    tries.append(str(args[:2]))
    raise OSError("no network in this test")
socket.getaddrinfo = refuse
socket.socket.connect = refuse

from interp.models import ModelError, load_model

for name, revision in json.loads(sys.argv[1]):
    tries.clear()
    try:
        model = load_model(name, revision=revision)
        told = {"fingerprint": model.fingerprint, "tokenizer": model.tokenizer is not None}
    except ModelError as error:
        told = {"error": str(error)}
    print("RESULT", json.dumps(told | {"tries": len(tries)}))
"""


def put_in_cache(folder, home, name, *, revisions, drop=()):
    """Lay a saved model out as huggingface_hub does."""
    base = home / "hub" / f"models--{name.replace('/', '--')}"
    for revision, commit in revisions.items():
        snapshot = base / "snapshots" / commit
        if not snapshot.exists():
            snapshot.mkdir(parents=True)
            for file in folder.iterdir():
                if file.name not in drop:
                    (snapshot / file.name).write_bytes(file.read_bytes())
        (base / "refs").mkdir(exist_ok=True)
        (base / "refs" / revision).write_text(commit)


@pytest.fixture(scope="module")
def from_cache(tmp_path_factory, tiny_folder, make_hf):
    """What loading several names through a local cache, with no network, came to."""
    home = tmp_path_factory.mktemp("hf")
    folder = tiny_folder("llama")
    other = tmp_path_factory.mktemp("other") / "v1"
    changed = make_hf("llama")
    with torch.no_grad():
        changed.lm_head.weight += 1
    changed.save_pretrained(other)
    commit = {name: character * 40 for name, character in (("main", "a"), ("v1", "b"))}
    put_in_cache(folder, home, "org/name", revisions={"main": commit["main"]})
    put_in_cache(other, home, "org/name", revisions={"v1": commit["v1"]})
    put_in_cache(other, home, "ids-only", revisions={"main": commit["main"]})
    put_in_cache(
        folder,
        home,
        "org/partial",
        revisions={"main": commit["main"]},
        drop=("model.safetensors",),
    )
    wanted = [
        ("org/name", None),
        ("org/name", "main"),
        ("org/name", "v1"),
        ("org/name", commit["v1"]),
        ("org/name", "no-such-revision"),
        ("ids-only", None),
        ("org/partial", None),
        ("org/absent", None),
    ]

    def run(**more):
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORM"))
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(LOADER), json.dumps(wanted)],
            env=environment | {"HF_HOME": str(home)} | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        lines = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        assert len(lines) == len(wanted), done.stderr
        return dict(zip(wanted, map(json.loads, lines), strict=True))

    return run


def test_the_cache_is_enough(from_cache, tiny_folder):
    told = from_cache()
    main = told["org/name", None]
    assert main["fingerprint"] == load_model(str(tiny_folder("llama"))).fingerprint
    assert main["tokenizer"]
    assert told["org/name", "main"]["fingerprint"] == main["fingerprint"]
    v1 = told["org/name", "v1"]
    assert v1["fingerprint"] != main["fingerprint"]
    assert told["org/name", "b" * 40]["fingerprint"] == v1["fingerprint"]
    # Without a tokenizer in the repository the model takes ids.
    assert told["ids-only", None] == {
        "fingerprint": v1["fingerprint"],
        "tokenizer": False,
        "tries": 1,
    }
    assert "no-such-revision: no network" in told["org/name", "no-such-revision"]["error"]
    assert "not wholly in the local cache" in told["org/partial", None]["error"]
    absent = told["org/absent", None]["error"]
    assert all(way in absent for way in ("folder", "hf_model=", "tokenizer=", "zoo:"))
    # Each asks once whether the Hub is there, and never again; the Hub client itself asks for one
    # more thing, once in a process.
    assert sum(case["tries"] for case in told.values()) <= len(told) + 1
    assert all("\n" not in case.get("error", "") for case in told.values())


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No network and an empty cache; gives the list of attempts."""
    from huggingface_hub import constants

    tries = []

    def refuse(*args, **kwargs):
        tries.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tries


@pytest.mark.parametrize("name", ["gpt2", "roneneldan/TinyStories-1M"])
def test_no_network_and_not_cached(no_network, name):
    began = time.monotonic()
    with pytest.raises(ModelError, match=f"{name}: no network to the Hugging Face Hub") as caught:
        load_model(name)
    assert time.monotonic() - began < 10
    assert no_network
    assert "\n" not in str(caught.value)


def test_a_name_server_that_never_answers_is_not_waited_for(no_network, monkeypatch):
    asked, over = threading.Event(), threading.Event()

    def silent(*args, **kwargs):
        asked.set()
        over.wait(60)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(hub, "REACH_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(ModelError, match="gpt2: no network to the Hugging Face Hub"):
        load_model("gpt2")
    assert time.monotonic() - began < 10
    over.set()
    assert asked.is_set()


def test_a_folder_of_that_name_without_configuration_is_mentioned(
    no_network, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    with pytest.raises(ModelError, match=r"the folder of that name holds no config\.json"):
        load_model("my-model")


def test_offline_by_choice_does_not_try(no_network, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="no network"):
        load_model("gpt2")
    assert not no_network


@pytest.mark.parametrize("name", ["a b", "models/", "x" * 200, "what?"])
def test_impossible_ids(no_network, name):
    with pytest.raises(ModelError, match="neither a folder nor a possible Hugging Face id"):
        load_model(name)
    assert not no_network


def _response(status):
    import httpx

    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "is gated: accept its licence"),
        ("RepositoryNotFoundError", "is neither a local folder nor a model on the Hub"),
        ("RevisionNotFoundError", "has no revision 'v9'"),
    ],
)
def test_what_the_hub_answers_is_told_plainly(monkeypatch, error, message):
    import transformers
    from huggingface_hub import errors

    def answer(*args, **kwargs):
        # As transformers does: an OSError whose cause is the Hub client's.
        raise OSError("long text of many lines") from getattr(errors, error)(
            "no", response=_response(403)
        )

    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", answer)
    with pytest.raises(ModelError, match=f"org/name {message}") as caught:
        load_model(ModelSpec("org/name", revision="v9"))
    assert "\n" not in str(caught.value)


def test_a_repository_without_tokenizer_takes_ids(monkeypatch, make_hf):
    import huggingface_hub
    import transformers

    asked = {}

    def model(name, **options):
        asked.update(options)
        return make_hf("gpt2"), {"missing_keys": set()}

    def tokenizer(name, **options):
        raise OSError("no tokenizer")

    files = ["config.json", "model.safetensors"]
    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", model)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", tokenizer)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name, revision: files)
    assert load_model("org/name", revision="v2").tokenizer is None
    assert asked["revision"] == "v2"
    assert asked["trust_remote_code"] is False
    files.append("tokenizer.json")  # then it is there, and broken
    with pytest.raises(ModelError, match="tokenizer of org/name cannot be loaded"):
        load_model("org/name")
