from __future__ import annotations

import re
import shutil

from keras_classics import load
from keras_classics.cli import app
from keras_classics.cli.terminal import console
from keras_classics.cli.train import Display
from keras_classics.evaluation.saved import read_metrics
from keras_classics.training.events import Estimated
from pictures import write_pictures


def test_a_run_as_the_terminal_shows_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    data = write_pictures(tmp_path / "data[1]", each=8)
    out = tmp_path / "out[bold]"
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--epochs", "2"]
    assert app.run(["train", str(data), *arguments, "--seed", "3", "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "data[1]: 3 classes, 18 training, 3 validation" in output
    assert "VGG16, width 0.0625, 32 x 32 pixels" in output
    assert "epoch   1/2" in output
    assert "images/s" in output
    for word in ("held-out images", "accuracy", "precision", "confusion matrix", "circle"):
        assert word in output
    assert f"classics predict '{out}' IMAGES" in output
    card = load(out).card
    assert card.recipe["seed"] == 3
    assert f"accuracy {card.figures['accuracy']:.1%}" in output


def test_trained_weights_as_the_terminal_shows_them(capsys, artefact, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    data = write_pictures(tmp_path / "data", each=8, classes=("circle", "cross"))
    arguments = ["train", str(data), "--network", "vgg16", "--epochs", "3"]
    transfer = ["--weights", str(artefact), "--unfreeze", "stage", "--batch-norm", "train"]
    transfer += ["--monitor", "val_loss"]  # by accuracy, this head could not be beaten
    assert app.run([*arguments, *transfer, "--out", str(tmp_path / "out")]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"starts from trained weights {artefact} (as requested)" in lines
    phases = [i for i, line in enumerate(lines) if line.startswith(("training the", "unfreezing"))]
    assert [lines[i] for i in phases] == [
        "unfreezing top, block5 (408 k of 528 k parameters)",
        "unfreezing block4 (500 k of 528 k parameters)",
        "unfreezing block3, block2, block1 (528 k of 528 k parameters)",
    ]
    assert [lines[i + 1][:11] for i in phases] == ["epoch   1/3", "epoch   2/3", "epoch   3/3"]
    head = next(line for line in lines if line.startswith("head: "))
    assert re.search(r"^head: \d+\.\d% of \d validation images, after \d+ s; now fine-tuning", head)
    assert "now fine-tuning for 3 epochs" in head
    assert head.endswith("; Ctrl-C keeps the head")
    # Both accuracies with their intervals.
    card, told = load(tmp_path / "out").card, read_metrics(tmp_path / "out")["transfer"]
    for name, figures in (("head", told["head"]), ("fine-tuned", told["fine_tuned"])):
        row = next(line for line in lines if line.startswith(name) and " to " in line)
        assert f"{figures['test']['accuracy']:.1%}" in row
        assert ("kept" in row) == (told["kept"] == name)
    what = {"head": "head", "fine-tuned": "fine-tuned network"}[told["kept"]]
    assert f"kept the {what}: {told['why']}" in lines
    assert card.completed


def test_what_takes_long_is_said_with_what_is_faster(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    display = Display(console())
    display.show(Estimated(features=300.0, fine_tuning=200.0, epochs=3, minutes=None))
    assert capsys.readouterr().out == ""
    display.show(Estimated(features=300.0, fine_tuning=4000.0, epochs=3, minutes=None))
    said = capsys.readouterr().out
    assert "features 5 min 0 s, fine-tuning 66 min 40 s; faster: --unfreeze none" in said
    display.show(Estimated(features=300.0, fine_tuning=4000.0, epochs=3, minutes=20.0))
    assert capsys.readouterr().out == ""


def test_how_to_transfer_needs_something_to_transfer(capsys, shapes):
    for option, value in (("--unfreeze", "stage"), ("--batch-norm", "train"), ("--minutes", "1")):
        assert app.run(["train", str(shapes), "--weights", "none", option, value]) == 2
        message = capsys.readouterr().err.strip()
        assert "needs trained weights" in message
        assert "\n" not in message


def test_many_classes_show_the_commonest_confusions(capsys):
    import numpy as np

    from keras_classics.cli.terminal import console, show_judgement
    from keras_classics.evaluation.metrics import judge

    labels = np.arange(30).repeat(2)
    called = labels.copy()
    called[:2] = 7  # class 0 is twice called 7
    called[-1] = 3
    judgement = judge(np.eye(30)[called], labels, tuple(f"name{i}" for i in range(30)))
    show_judgement(console(), judgement, "many")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["name0", "name7", "2"] in lines
    assert ["name29", "name3", "1"] in lines


def test_what_the_quick_check_finds_is_said(capsys, tmp_path):
    data = write_pictures(tmp_path / "data", each=12)
    shutil.copy(data / "circle" / "000.png", data / "cross" / "same.png")
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--epochs", "1"]
    assert app.run(["train", str(data), *arguments, "--out", str(tmp_path / "run")]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "the same picture in several classes: one of the labels is wrong" in output
    assert "circle/000.png, cross/same.png" in output
    assert "`classics check` lists all of them" in output
    (tmp_path / "data" / "cross" / "same.png").unlink()
    assert app.run(["train", str(data), *arguments, "--out", str(tmp_path / "again")]) == 0
    assert "classics check" not in capsys.readouterr().out


def test_imbalance_is_said_with_what_to_do_or_what_is_done(capsys, tmp_path):
    data = write_pictures(tmp_path / "data", each=12, classes=("circle", "cross"))
    write_pictures(tmp_path / "more", each=60, classes=("stripes",), seed=1)
    shutil.move(tmp_path / "more" / "stripes", data / "stripes")
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--epochs", "1"]
    assert app.run(["train", str(data), *arguments, "--out", str(tmp_path / "a")]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "as many images in the largest class as in the smallest" in output
    assert "(stripes...): train with --balance weights or --balance sampling" in output
    balanced = [*arguments, "--balance", "sampling", "--out", str(tmp_path / "b")]
    assert app.run(["train", str(data), *balanced]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "this run shows images of small classes more often (stripes...)" in output
    assert "--balance" not in output


def test_a_batch_size_found_by_trying_is_said(capsys, tmp_path, monkeypatch):
    from keras_classics.training import batch_size
    from keras_classics.training.batch_trial import Trial

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(batch_size, "_try", lambda *_, **__: [Trial(8, 100.0, 1)])
    data = write_pictures(tmp_path / "data", each=8)
    arguments = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--epochs", "1"]
    auto = ["--batch-size", "auto", "--out", str(tmp_path / "run")]
    assert app.run(["train", str(data), *arguments, *auto]) == 0
    output = capsys.readouterr().out
    assert "batches of 8 found by trial; learning rate 0.00025, scaled from 0.0005 for 32" in output
    assert "1 epoch, batches of 8" in output


def test_a_batch_size_that_is_none_is_one_line(capsys, shapes):
    for value, words in (("many", "batch_size='many'"), ("0", "batch_size=0"), ("-1", "-1")):
        assert app.run(["train", str(shapes), "--batch-size", value]) == 2
        message = capsys.readouterr().err.strip()
        assert words in message
        assert "\n" not in message


TINY = ["--network", "vgg16", "--width", "0.0625", "--size", "32", "--batch-size", "8"]


def test_ctrl_c_and_resume(capsys, shapes, tmp_path, monkeypatch):
    from keras_classics.training import run as module
    from keras_classics.training.events import Step

    out = tmp_path / "run"
    train = module.train

    def pressed(config, listener, **options):
        def tell(event):
            listener(event)
            if isinstance(event, Step) and event.done == 7:
                raise KeyboardInterrupt

        return train(config, tell, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", pressed)
        arguments = [*TINY, "--epochs", "2", "--tensorboard", str(tmp_path / "board")]
        assert app.run(["train", str(shapes), *arguments, "--out", str(out)]) == 130
    output = capsys.readouterr().out.replace("\n", "")
    assert "the best of 1 epoch is saved but not evaluated" in output
    assert f"to resume: classics train --resume {out}" in output
    assert list((tmp_path / "board").iterdir())

    for words in (["--epochs", "3"], [str(shapes)], ["--set", "epochs=3"], ["--deterministic"]):
        assert app.run(["train", "--resume", str(out), *words]) == 2
        error = capsys.readouterr().err
        assert "beside --resume: a run resumes with its original options" in error
        assert error.count("\n") == 1
    assert app.run(["train", "--resume", str(out)]) == 0
    output = capsys.readouterr().out
    assert "resuming at epoch 2, step 3" in output
    assert "report.html" in output
    assert load(out).card.completed
    assert app.run(["train", "--resume", str(out)]) == 2
    assert "the run is finished" in capsys.readouterr().err


def test_a_recipe_and_its_changes_are_seen_and_saved(capsys, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "quick"\nepochs = 1\n[loss]\nlabel_smoothing = 0.1\n')
    out = tmp_path / "run"
    words = ["--recipe", str(mine), "--set", "optimizer.name=sgd", "--set", "schedule.warm_up=0"]
    options = ["--balance", "sampling", "--monitor", "val_loss", "--patience", "3"]
    assert app.run(["train", str(shapes), *TINY, *words, *options, "--out", str(out)]) == 0
    assert "mine.toml: 1 epoch, batches of 8" in capsys.readouterr().out.replace("\n", "")
    recipe = load(out).card.recipe
    assert recipe["optimizer"]["name"] == "sgd"
    assert recipe["loss"]["label_smoothing"] == 0.1
    assert recipe["selection"] == {"monitor": "val_loss", "patience": 3, "least_loss": 0.0}
    assert recipe["balance"] == "sampling"


def test_what_a_recipe_cannot_be_is_one_line(capsys, shapes, tmp_path):
    for words, message in (
        (["--recipe", "quik"], "did you mean 'quick'"),
        (["--set", "epoch=3"], "did you mean 'epochs'"),
        (["--set", "optimizer.learning_rate=fast"], "optimizer.learning_rate = 'fast'"),
        (["--precision", "int8"], "--precision"),
        (["--patience", "-1"], "--patience"),
        (["--resume", str(tmp_path / "none")], "no such folder"),
    ):
        data = [] if "--resume" in words else [str(shapes), "--out", str(tmp_path / "run")]
        assert app.run(["train", *data, *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
