"""The paper's data sets at their owners': files, sums, terms. None of their data comes with this package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_OXFORD = ("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/", "https://thor.robots.ox.ac.uk/flowers/102/")
# The owner's server has often been unreachable since 2025, so a web archive's copy is asked next.
_PARTS = tuple(
    f"{before}http://vis-www.cs.umass.edu/lfw/part_labels/"
    for before in ("", "https://web.archive.org/web/2020id_/")
)
_CALTECH = "https://data.caltech.edu/records/"
_CALTECH_S3 = (
    "http://www.vision.caltech.edu.s3-us-west-2.amazonaws.com/visipedia-data/CUB-200-2011/CUB_200_2011.tgz"
)
_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
_PART_LISTS = ("parts_train.txt", "parts_validation.txt", "parts_test.txt")
_AUTHORS = "https://github.com/mickaelChen/ReDO/tree/master/datasplits"


@dataclass(frozen=True)
class RemoteFile:
    """A file on the owner's server and on mirrors; `urls` are tried in this order."""

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    """About how many bytes; only for people to read."""
    sum: str | None = None
    """`md5:...` or `sha256:...` of the file. None: none is published, and the first download's counts."""
    inside: str | None = None
    """Likewise of what a .gz file holds: the same content packed anew is accepted, too."""
    unpacked: Mapping[str, str] = field(default_factory=dict)
    """What to unpack: path in the archive -> path in the set's folder. Empty: the file stays as it is."""


@dataclass(frozen=True)
class DownloadableSet:
    """One of the paper's sets, with its files, or a union, which names its `parts` and has no files."""

    name: str
    what: str
    images: int
    terms: str
    home: str
    used_for: str
    words: tuple[str, ...]
    """What to write after `redoseg train`; `{}` stands for the set's folder or, of a union, for the root."""
    splits: str
    """Where the paper's splits come from."""
    files: tuple[RemoteFile, ...] = ()
    parts: tuple[str, ...] = ()


def _remote(servers: tuple[str, ...], name: str, *known: Any, **more: Any) -> RemoteFile:
    """A file of one name on all servers; `known` and `more` are the fields of RemoteFile after its urls."""
    return RemoteFile(name, tuple(f"{server}{name}" for server in servers), *known, **more)


# start of the name, bytes, md5 of the file, md5 of its content when unpacked
_DIGITS = (
    ("train-images-idx3", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
    ("train-labels-idx1", 28881, "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
    ("t10k-images-idx3", 1648877, "9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    ("t10k-labels-idx1", 4542, "ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
)

_FLOWERS = DownloadableSet(
    name="flowers",
    what="Oxford Flowers-102: flowers, masks made by a program",
    images=8189,
    terms="no licence stated; photos from the web, their owners' rights remain",
    home=_OXFORD[0],
    used_for="table 1; figures 2, 4, 5, 7",
    words=("flowers:{}",),
    splits="setid.mat: train tstid, val valid, test trnid",
    files=(
        _remote(
            _OXFORD,
            "102flowers.tgz",
            344_862_509,
            "md5:52808999861908f626f3c1f4e79d11fa",
            unpacked={"jpg": "jpg"},
        ),
        _remote(
            _OXFORD,
            "102segmentations.tgz",
            203_577_493,
            "md5:51375996b6c4f367a4b9f4492d7ecef5",
            unpacked={"segmim": "segmim"},
        ),
        _remote(_OXFORD, "setid.mat", 14_989, "md5:a5357ecc9cb78c4bef273ce3793fc85c"),
    ),
)

_LFW = DownloadableSet(
    name="lfw",
    what="Labeled Faces in the Wild, funneled, with its part labels",
    images=13233,
    terms="for research; no licence stated, press photos of named people, their owners' rights remain",
    home="http://vis-www.cs.umass.edu/lfw/",
    used_for="table 1; figures 2, 4",
    words=("lfw:{}",),
    splits=f"the authors' train.txt, val.txt, test.txt ({_AUTHORS}/lfw-funneled), yours to fetch; else the "
    "set's own part lists",
    files=(
        RemoteFile(
            "lfw-funneled.tgz",
            (
                "https://ndownloader.figshare.com/files/5976015",
                "http://vis-www.cs.umass.edu/lfw/lfw-funneled.tgz",
            ),
            243_346_528,
            "sha256:b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
            unpacked={"lfw_funneled": "lfw_funneled"},
        ),
        _remote(
            _PARTS,
            "parts_lfw_funneled_gt_images.tgz",
            sum="md5:3e7e26e801c3081d651c8c2ef3c45cfc",
            unpacked={"parts_lfw_funneled_gt_images": "parts_lfw_funneled_gt_images"},
        ),
        *(_remote(_PARTS, name) for name in _PART_LISTS),
    ),
)

_CUB = DownloadableSet(
    name="cub",
    what="Caltech-UCSD Birds-200-2011, with its segmentations",
    images=11788,
    terms="non-commercial research and education only; the photos are their owners'",
    home="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    used_for="table 1; figures 2, 4, 6, 8",
    words=("cub:{}",),
    splits=f"the authors' train_val_test_split.txt ({_AUTHORS}/cub), yours to fetch; else a seeded one, "
    "which is not the paper's",
    files=(
        RemoteFile(
            "CUB_200_2011.tgz",
            (f"{_CALTECH}65de6-vp158/files/CUB_200_2011.tgz", _CALTECH_S3),
            1_150_585_339,
            "md5:97eceeb196236b17998738112f37df78",
            unpacked={"CUB_200_2011/images": "images", "CUB_200_2011/images.txt": "images.txt"},
        ),
        _remote(
            (f"{_CALTECH}w9d68-gec53/files/",),
            "segmentations.tgz",
            39_272_883,
            "md5:4d47ba1228eae64f2fa547c47bc65255",
            unpacked={"segmentations": "segmentations"},
        ),
    ),
)

_MNIST_SET = DownloadableSet(
    name="mnist",
    what="handwritten digits, for colored-2-MNIST",
    images=70_000,
    terms="CC BY-SA 3.0 (Y. LeCun, C. Cortes)",
    home="http://yann.lecun.com/exdb/mnist/",
    used_for="digits; figure 2",
    words=("digits", "--n", "3", "--mnist", "{}"),
    splits="55,000 train and 5,000 val of MNIST's train, test its own",
    files=tuple(
        _remote(_MNIST, f"{start}-ubyte.gz", size, f"md5:{packed}", f"md5:{inside}")
        for start, size, packed, inside in _DIGITS
    ),
)

_UNION = DownloadableSet(
    name="flowers+lfw",
    what="Flowers and LFW as one set, which has no labels of its own",
    images=_FLOWERS.images + _LFW.images,
    terms="those of flowers and lfw",
    home="",
    used_for="table 1; figure 3",
    words=("flowers:{}/flowers", "lfw:{}/lfw"),
    splits="those of flowers and lfw",
    parts=("flowers", "lfw"),
)

SETS: dict[str, DownloadableSet] = {known.name: known for known in (_FLOWERS, _LFW, _CUB, _UNION, _MNIST_SET)}
