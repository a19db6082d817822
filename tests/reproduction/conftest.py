"""The paper's sets, so small that experiments on them are done in a moment."""

import pytest

from paper_sets import pack


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDOSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def root(request, tmp_path_factory):
    """Faces and flowers with masks in val, birds without any: the module's FACES, FLOWERS and BIRDS."""
    folder, module = tmp_path_factory.mktemp("root"), request.module
    pack(folder, "lfw32", module.FACES)
    pack(folder, "flowers32", module.FLOWERS)
    pack(folder, "birds32", module.BIRDS, masked=())
    return folder
