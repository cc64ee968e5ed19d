"""What the wheel holds, and the signatures that it promises."""

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gdn

# flash-linear-attention 0.6, in order; its further keywords follow.
FLA_CHUNK = """
    q k v g beta scale initial_state output_final_state use_qk_l2norm_in_kernel
    use_beta_sigmoid_in_kernel allow_neg_eigval state_v_first cu_seqlens cu_seqlens_cpu
    chunk_indices cp_context
"""
FLA_RECURRENT = """
    q k v g gk gv beta scale initial_state output_final_state use_qk_l2norm_in_kernel
    use_gate_in_kernel A_log dt_bias use_beta_sigmoid_in_kernel allow_neg_eigval
    state_v_first cu_seqlens
"""


@pytest.mark.parametrize(
    "function, positional, keywords",
    [
        (
            gdn.chunk_gated_delta_rule,
            FLA_CHUNK,
            "use_gate_in_kernel A_log dt_bias chunk_size transpose_state_layout out state_indices "
            "inplace_final_state checkpoint_every head_map output_state_indices "
            "has_initial_state null_slot padded state_dtype checkpoint_indices positions",
        ),
        (
            gdn.fused_recurrent_gated_delta_rule,
            FLA_RECURRENT,
            "transpose_state_layout out state_indices inplace_final_state num_accepted_tokens "
            "head_map output_state_indices has_initial_state null_slot padded state_dtype "
            "round_states",
        ),
    ],
)
def test_signatures(function, positional, keywords):
    parameters = inspect.signature(function).parameters.values()
    found = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert found == positional.split()
    assert [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] == keywords.split()
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)


def test_everything_public_is_documented():
    for module in (gdn, gdn.stages):
        for name in module.__all__:
            value = getattr(module, name)
            assert not callable(value) or (value.__doc__ and value.__doc__.strip()), name


def test_stub_matches_the_extension():
    stub = Path(gdn.__file__).with_name("_C.pyi").read_text()
    public = {name for name in dir(gdn._C) if not name.startswith("_")}
    declared = set(re.findall(r"^(?:def )?(\w+)[(:]", stub, re.M)) - {"__getattr__"}
    modules = (gdn.stages, gdn._decode, gdn._delta_rule, gdn._layer)
    operations = {name for module in modules for name in module.__all__}
    operations.remove("causal_conv1d_fn")
    assert declared.isdisjoint(operations) and declared | operations == public
    assert Path(gdn.__file__).with_name("py.typed").exists()


def test_command():
    command = Path(sys.executable).with_name("gdn")
    if not command.exists():
        pytest.skip("the command gdn is not beside this interpreter")
    result = subprocess.run([command, "info"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert gdn.__version__ in result.stdout


def test_c_program_against_the_package(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = gdn.get_library_dir()
    source = tmp_path / "main.c"
    source.write_text(
        "#include <gdn/gdn.h>\n#include <stdio.h>\n"
        "int main(void) { puts(gdn_version()); return 0; }\n"
    )
    program = tmp_path / "main"
    subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Werror", f"-I{gdn.get_include()}", str(source),
         f"-L{folder}", "-lgdn", f"-Wl,-rpath,{folder}", "-o", str(program)],
        check=True,
    )  # fmt: skip
    result = subprocess.run([program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == gdn.__version__
