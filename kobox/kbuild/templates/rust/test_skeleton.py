import kobox
import pytest


@pytest.fixture(scope="session")
def modules():
    from pathlib import Path

    try:
        return {path.stem: path for path in kobox.build(Path(__file__).parent)}
    except kobox.BuildError as error:
        if "Rust" in error.message:
            pytest.skip(str(error))
        raise


def test_it_says_hello_and_goodbye(box, module):
    loaded = box.insmod(module)
    assert "skeleton: hello" in box.log.text()
    loaded.unload()
    assert "skeleton: goodbye, the sum is 42" in box.log.text()
