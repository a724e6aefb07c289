"""A model that float16 cannot run is named with the way out, not recorded as it is."""

from pathlib import Path

from tests.audit.commands import run_flashbulb
from tests.audit.conftest import Inputs
from tests.toy import build_toy_pipe


def test_a_unet_that_overflows_in_float16_ends_the_recording_with_its_site(inputs: Inputs, tmp_path: Path) -> None:
    pipe = build_toy_pipe()
    gated = pipe.unet.mid_block.attentions[0].transformer_blocks[0].ff.net[0].proj
    gated.weight.data.zero_()
    gated.bias.data.fill_(1000)  # float16 holds it, but not its square
    pipe.save_pretrained(tmp_path / "model")
    options = inputs._replace(model=tmp_path / "model").options
    answer = run_flashbulb("audit", *options(tmp_path / "half"), "--dtype", "float16")
    assert answer.code == 3
    assert "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.2/" in answer.err
    assert "load the model in float32 or bfloat16" in answer.err
    assert run_flashbulb("audit", *options(tmp_path / "full"), "--dtype", "float32").code in (0, 1)
