"""Memory banks: a model depends on the images that are in the bank, and on nothing that ever was."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import intact
from intact.anomaly.patchcore import PatchCore
from intact.bank import Bank, is_bank, recall, store
from intact.bank.eyes import _Axes
from intact.bank.recall import _kept
from intact.bottom_sample import bottom_k
from intact.cli_bank import bank_app
from intact.errors import OutputError, TooFewNormalsError, UsageError
from intact.image import Identity, Image
from intact.model import planes_of

SIDE = 64
FIELDS = {"size": SIDE, "backbone": "narrow_resnet18", "coreset": 100, "block": 300, "precision": "float32"}
PATIENTS = 24
IMAGES = 32


def plane(seed: int, lesion: bool = False, shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
    """A disc with texture, 12 bits; a lesion is a bright square in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    inside = np.hypot(x + rng.uniform(-0.1, 0.1), y + rng.uniform(-0.1, 0.1)) < rng.uniform(0.7, 0.8)
    pixels = np.where(inside, 1500 + 300 * x, 100) + rng.normal(0, 60, shape)
    if lesion:
        pixels[..., 28:40, 24:36] = 3500
    return pixels.clip(0, 4095).astype(np.uint16)


def dicom(path: Path, seed: int, patient: str, lesion: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image(plane(seed, lesion), modality="DX", bits=12, identity=Identity(patient=patient))
    return intact.write(image, path)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """24 patients, every third with two images, as files whose names tell their patients."""
    folder = tmp_path_factory.mktemp("archive")
    for i in range(PATIENTS):
        for k in range(2 if i % 3 == 0 else 1):
            dicom(folder / f"NAME{i:02d}-{k}.dcm", 100 * i + k, f"PATIENT-{i:02d}")
    return folder


def made(folder, paths, **options) -> Bank:
    made, _ = Bank.create(folder, paths, **{"fields": FIELDS, "per_image": 20, **options})
    made.add(paths)
    return made


@pytest.fixture(scope="module")
def whole(archive, tmp_path_factory):
    """A bank of all images, closed."""
    folder = tmp_path_factory.mktemp("whole") / "bank"
    made(folder, [archive]).close()
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it that may be changed, opened."""
    with Bank(shutil.copytree(whole, tmp_path / "copy")) as opened:
        yield opened


def patient_of(opened: Bank, held: bool) -> int:
    """One with two images, remembered or held out."""
    return next(i for i in range(0, PATIENTS, 3) if opened.settings.holds_out(f"PATIENT-{i:02d}") == held)


def same(one, other) -> bool:
    """Whether two models are equal bit for bit."""
    a, b = one.detector.state(), other.detector.state()
    numbers = ("image", "peak", "pixel")
    return (
        a.keys() == b.keys()
        and all(torch.equal(a[name], b[name]) for name in a)
        and all(np.array_equal(getattr(one.calibration, n), getattr(other.calibration, n)) for n in numbers)
        and (one.card.normals_fitted, one.card.modality) == (other.card.normals_fitted, other.card.modality)
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The files of a model, without the time at which it was made."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["manifest.json"] = re.sub(rb'"fitted": "[^"]*"', b"", files["manifest.json"])
    return files


@pytest.mark.parametrize("held", [False, True])
def test_a_forgotten_patient_was_never_there(archive, copy, tmp_path, held):
    patient = patient_of(copy, held)
    before = copy.model()
    assert copy.forget(f"PATIENT-{patient:02d}") == 2
    others = [path for path in archive.iterdir() if not path.name.startswith(f"NAME{patient:02d}")]
    with made(tmp_path / "never", sorted(others, reverse=True)) as never:
        assert same(copy.model(), never.model()) and not same(copy.model(), before)
        assert copy.entries() == never.entries()
    assert bytes_of(copy.folder / "model") == bytes_of(tmp_path / "never" / "model")
    images = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    models = (intact.Model.load(folder / "model") for folder in (copy.folder, tmp_path / "never"))
    found, expected = (model.detector.score(images) for model in models)
    assert torch.equal(found.image, expected.image) and torch.equal(found.pixel, expected.pixel)


def test_a_forgotten_patient_that_comes_back_is_as_if_never_forgotten(archive, copy):
    before = copy.model()
    copy.forget("PATIENT-03")
    assert copy.add([archive]).added == 2
    assert same(copy.model(), before)


@pytest.mark.parametrize("held", [False, True])
def test_no_byte_of_a_forgotten_patient_stays(copy, held):
    patient = patient_of(copy, held)
    name = f"PATIENT-{patient:02d}"
    records = [r for _, r in copy._store.records(held) if r.patient == copy.settings.hashed(name)]
    in_store = [record.digest.encode() for record in records] + [copy.settings.hashed(name).encode()]
    in_store += [Path(r.name).name.encode() for r in records] + [r.vectors.tobytes()[-64:] for r in records]

    def holds(trace: bytes) -> bool:
        return any(trace in path.read_bytes() for path in copy.folder.rglob("*") if path.is_file())

    copy._store.settle()
    assert all(map(holds, in_store)) and len(records) == 2
    copy.forget(name)
    assert not any(map(holds, in_store)) and not holds(name.encode())
    assert {path.name for path in copy.folder.iterdir()} == {"eyes", "model", "images.sqlite"}


def test_patients_are_never_written_in_the_open(copy):
    files = [path.read_bytes() for path in copy.folder.rglob("*") if path.is_file()]
    assert not any(b"PATIENT-" in data for data in files)


def test_the_order_of_adding_changes_nothing(archive, whole, tmp_path):
    paths = sorted(archive.iterdir())
    np.random.default_rng(0).shuffle(paths)
    with Bank(whole) as once:
        expected, entries = once.model(), once.entries()
    with made(tmp_path / "bank", paths[:5]) as bank:
        for part in (paths[3:20], paths[15:]):
            bank.add(part)
        assert same(bank.model(), expected)
        assert bank.entries() == entries


def test_an_image_counts_once(archive, copy, tmp_path):
    before = copy.model()
    shutil.copytree(archive, tmp_path / "again")
    done = copy.add([archive, tmp_path / "again"])
    assert (done.added, done.known) == (0, 2 * IMAGES)
    assert same(copy.model(), before)
    fresh = dicom(tmp_path / "new" / "a.dcm", 9999, "NEW")
    shutil.copy(fresh, fresh.with_name("b.dcm"))
    done = copy.add([fresh.parent])
    assert (done.added, done.known) == (1, 1)


def test_what_is_kept_is_bounded(copy, monkeypatch):
    assert len(copy.entries()) == FIELDS["coreset"] == len(copy.model().detector.bank_)
    remembered = [record for _, record in copy._store.records(held=False)]
    assert all(record.vectors.shape == (20, 64 + 128) for record in remembered)
    assert 20 * len(remembered) > FIELDS["block"] == len(bottom_k(_kept(copy._store, copy.settings), 300))
    monkeypatch.setattr(recall, "JUDGED", 5)
    held = [record.digest for _, record in copy._store.records(held=True)]
    judged = [record.digest for _, record in copy._store.records(held=True, limit=5)]
    assert judged == held[:5] and len(copy.model().calibration) == 5 < len(held)


def test_a_patient_is_remembered_or_held_out_never_both(archive, copy):
    kept = [record for held in (False, True) for _, record in copy._store.records(held)]
    sides = {(record.patient, record.held) for record in kept}
    assert len(kept) == IMAGES and len(sides) == PATIENTS
    assert 0.1 < sum(held for _, held in sides) / PATIENTS < 0.5


def test_every_entry_leads_to_its_patch(copy):
    model, entries = copy.model(), copy.entries()
    for number in range(0, len(entries), 13):
        entry = entries[number]
        assert hashlib.sha256(Path(entry.image).read_bytes()).hexdigest() == entry.digest
        image = intact.read(entry.image)
        prepared = list(planes_of(image, model.preparation))[entry.plane][0]
        patch = model.detector._patches(prepared[None])[0, entry.patch]
        torch.testing.assert_close(patch, model.detector.bank_[number], atol=0.02, rtol=0.01)
        row, column = entry.center
        assert (row // 8) * 8 + column // 8 == entry.patch


def test_the_memory_is_what_patchcore_learns_from_the_sample(copy):
    class OnPatches(_Axes):
        def _patches(self, images):
            return (images - self.mean_) @ self.basis_

        def _build(self, channels):
            return

    sample = bottom_k(_kept(copy._store, copy.settings), FIELDS["block"])
    features = torch.from_numpy(sample.vectors).float()[None]
    plain = OnPatches(**copy.settings.fields)
    plain.mean_, plain.basis_ = plain._principal_axes([features])
    plain._fit([features])
    torch.testing.assert_close(copy.model().detector.bank_, plain.bank_)
    assert type(copy.model().detector) is PatchCore


def test_the_calibration_is_what_the_model_says_of_the_images_held_out(copy):
    model = copy.model()
    held = [intact.read(record.name) for _, record in copy._store.records(held=True)]
    readings = list(model.read(held))
    np.testing.assert_allclose(model.calibration.image, [r.score for r in readings], rtol=0.01)
    np.testing.assert_allclose(model.calibration.peak, [r.peak for r in readings], rtol=0.01)


def test_volumes_are_judged_by_their_worst_plane(tmp_path):
    paths = []
    for i in range(8):
        volume = Image(np.stack([plane(10 * i + k) for k in range(3 + i % 2)]), modality="MR")
        paths.append(intact.write(volume, tmp_path / f"{i}.nii.gz"))
    with made(tmp_path / "bank", paths, calibrate=0.5) as bank:
        model = bank.model()
        held = [intact.read(record.name) for _, record in bank._store.records(held=True)]
        assert len(held) in range(2, 7) and model.card.volumes
        readings = [reading.score for reading in model.read(held)]
        np.testing.assert_allclose(model.calibration.image, readings, rtol=0.01)
        assert {entry.plane for entry in bank.entries()} >= {0, 1, 2}


def test_files_that_cannot_be_read_are_told(archive, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("NAME01-0.dcm", "NAME02-0.dcm"):
        shutil.copy(archive / name, folder / name)
    (folder / "note.txt").write_text("no image")
    (folder / "cut.dcm").write_bytes((archive / "NAME00-0.dcm").read_bytes()[:4000])
    np.save(folder / "nothing.npy", np.full((64, 64), np.nan, np.float32))
    bank, _ = Bank.create(tmp_path / "bank", [folder], fields=FIELDS)
    with bank:
        done = bank.add([folder])
    assert (done.added, done.known) == (2, 0)
    assert sorted(Path(r.name).name for r in done.rejected) == ["cut.dcm", "note.txt", "nothing.npy"]
    assert all(r.reason for r in done.rejected)


def test_a_killed_run_leaves_whole_images_and_goes_on(archive, whole, tmp_path, monkeypatch):
    """The folder is copied in the middle of an add: so a process that is killed there would leave it."""
    monkeypatch.setattr(store, "TOGETHER", 4)
    keep, seen = store.BankStore.add, []

    def watched(self, record):
        seen.append(record.digest)
        if len(seen) == 11:
            shutil.copytree(tmp_path / "bank", tmp_path / "killed")
            raise KeyboardInterrupt
        return keep(self, record)

    monkeypatch.setattr(store.BankStore, "add", watched)
    with (
        Bank.create(tmp_path / "bank", [archive], fields=FIELDS, per_image=20)[0] as bank,
        pytest.raises(KeyboardInterrupt),
    ):
        bank.add([archive])
    with Bank(whole) as once:
        expected = once.model()
    for folder, images in ((tmp_path / "bank", 10), (tmp_path / "killed", 8)):
        with Bank(folder) as bank:
            kept = [record for held in (False, True) for _, record in bank._store.records(held)]
            assert sorted(record.digest for record in kept) == sorted(seen[:images])
            assert bank.add([archive]).known == images
            assert same(bank.model(), expected)


def test_a_forgetting_that_fails_leaves_the_patient_but_no_model(whole, tmp_path, monkeypatch):
    folder = shutil.copytree(whole, tmp_path / "bank")

    def full(*_):
        raise OSError(28, "No space left")

    with Bank(folder) as bank, monkeypatch.context() as broken:
        broken.setattr(Path, "replace", full)
        for _ in range(2):
            with pytest.raises(OutputError, match="No space left"):
                bank.forget("PATIENT-03")
    assert not (folder / "model").exists()
    (folder / ".model.left").mkdir()
    with Bank(folder) as bank:
        assert bank.forget("PATIENT-03") == 2
    assert {path.name for path in folder.iterdir()} == {"eyes", "model", "images.sqlite"}


def test_one_image_is_forgotten_by_its_digest_or_name(archive, copy):
    path = archive / "NAME00-0.dcm"
    assert copy.forget(hashlib.sha256(path.read_bytes()).hexdigest()) == 1
    assert copy.forget(str(archive / "NAME00-1.dcm")) == 1
    assert copy.forget("PATIENT-00") == 0


def test_screening_with_it_flags_what_is_not_normal(whole, tmp_path):
    for i in range(12):
        dicom(tmp_path / "test" / "good" / f"{i}.dcm", 50_000 + i, f"G{i}")
        dicom(tmp_path / "test" / "lesion" / f"{i}.dcm", 60_000 + i, f"L{i}", lesion=True)
    outcome = intact.screen(
        [tmp_path / "test"],
        tmp_path / "out",
        models=[whole / "model"],
        alpha=0.1,
        labels="folder",
        forensics=False,
        workers=0,
    )
    assert outcome.run["labels"]["per_kind"][0]["auroc"][0] > 0.95
    assert outcome.run["labels"]["per_kind"][0]["flagged_rate"][0] == 1.0
    assert outcome.run["labels"]["false_alarm_rate"][0]["rate"] < 0.4


def test_a_bank_that_remembers_nothing_has_no_model(archive, tmp_path):
    bank = made(tmp_path / "bank", [archive / "NAME01-0.dcm"], calibrate=0.999999)
    with bank, pytest.raises(TooFewNormalsError):
        bank.model()
    assert not (tmp_path / "bank" / "model").exists()


def test_a_folder_that_is_taken_or_no_bank_is_refused(archive, copy, tmp_path):
    with pytest.raises(UsageError, match="another process"):
        Bank(copy.folder)
    with pytest.raises(UsageError, match="holds files already"):
        Bank.create(archive, [archive])
    with pytest.raises(UsageError, match="not a memory bank"):
        Bank(archive)
    with pytest.raises(UsageError, match="no field"):
        Bank.create(tmp_path / "bank", [archive], fields={"steps": 3})
    assert not (tmp_path / "bank").exists()


def test_the_command_line(archive, tmp_path):
    def run(*words: object):
        return CliRunner().invoke(bank_app, [str(word) for word in words])

    folder = tmp_path / "bank"
    settings = [word for name, value in FIELDS.items() for word in ("--set", f"{name}={value}")]
    first = run("add", folder, archive, *settings, "--json")
    assert first.exit_code == 0 and json.loads(first.stdout)["added"] == IMAGES
    (tmp_path / "bad.txt").write_text("no image")
    again = run("add", folder, archive, tmp_path / "bad.txt", "--set", "size=64")
    assert again.exit_code == 3 and f"{IMAGES} were there already" in again.stdout
    assert isinstance(run("add", folder, archive, "--seed", 7).exception, UsageError)
    shown = json.loads(run("show", folder, "--json").stdout)
    assert shown["patients"] == PATIENTS and len(shown["entries"]) == 100
    assert "patches remembered" in run("show", folder).stdout
    unknown = run("forget", folder, "PATIENT-99")
    assert isinstance(unknown.exception, UsageError) and "PATIENT-99" not in str(unknown.exception)
    gone = run("forget", folder, "PATIENT-03", "--json")
    assert gone.exit_code == 0 and json.loads(gone.stdout)["removed"] == 2
    assert is_bank(folder)
