from __future__ import annotations

import json

from keras_classics.cli.app import run
from keras_classics.training import recipes


def test_the_list_names_every_recipe(capsys):
    assert run(["recipes"]) == 0
    printed = capsys.readouterr().out
    for name in recipes.names():
        assert name in printed
    assert "`paper` stands for" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_all_lines_as_json(capsys):
    assert run(["recipes", "--json"]) == 0
    found = {recipe["name"]: recipe for recipe in json.loads(capsys.readouterr().out)}
    assert set(found) == set(recipes.names())
    assert found["paper_inception_v3"]["loss"]["auxiliary"] == 0.4


def test_one_is_shown_as_it_is_written_with_its_sources(capsys):
    assert run(["recipes", "show", "paper", "--network", "vgg16"]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip() == recipes.read("paper_vgg16").text.rstrip()
    assert "section 3.1" in printed


def test_one_with_changes_as_it_would_be_used(capsys):
    assert run(["recipes", "show", "quick", "--set", "epochs=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3


def test_what_is_no_recipe(capsys):
    for words, message in (
        (["show", "quik"], "did you mean 'quick'"),
        (["show", "none.toml"], "cannot be read"),
        (["show", "quick", "--network", "resnet5"], "did you mean 'resnet50'"),
        (["show", "quick", "--set", "epochs=many"], "epochs = 'many'"),
    ):
        assert run(["recipes", *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
