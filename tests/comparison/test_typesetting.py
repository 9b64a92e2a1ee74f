import shutil
import subprocess

import pytest

from qexp.base.text import Table, latex, markdown

ODD = r"""a_b #1 100% $x^2$ {y} ~ \z & <c> |d| "e" --f [g](h) `i` *j* _k_ é 中 µ ≤ (10⁶ m³)² s⁻¹"""

TABLE = Table(ODD, ["name", "value", ODD], [[ODD, "-0.5 ± 0.1", ""], ["[begins", "1e-05", ODD]], frozenset({"value"}),
              frozenset({(0, 1)}))  # fmt: skip


def test_a_markdown_table_has_as_many_cells_in_every_row_whatever_stands_in_them():
    *_, head, rule, first, second, _, remark = markdown([TABLE], ["said | <b>"]).splitlines()
    for line in (head, rule, first, second):
        assert line.replace(r"\|", "").count("|") == 4
    assert rule == "| --- | ---: | --- |"
    assert "**-0.5 ± 0.1**" in first
    assert r"a_b #1 100% $x^2$ {y} \~ \\z & \<c\> \|d\|" in first
    assert r"[g\](h) \`i\` \*j\* \_k\_" in first
    assert remark == r"- said \| \<b\>"


def test_latex_has_powers_minus_signs_and_nothing_that_latex_would_read():
    text = latex([TABLE], ["a remark\nof two lines"])
    assert text.splitlines()[1] == "% a remark of two lines"
    assert r"\textbf{\ensuremath{-}0.5 \ensuremath{\pm} 0.1}" in text
    assert r"(10\ensuremath{^{6}} m\ensuremath{^{3}})\ensuremath{^{2}} s\ensuremath{^{-1}}" in text
    assert r"a\_b \#1 100\% \$x{\textasciicircum}2\$" in text
    assert text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_whatever_stands_in_the_table(tmp_path):
    body = latex([TABLE, Table("wide", ["a column"] * 30, [["a cell"] * 30])], [ODD])
    packages = body.splitlines()[0].removeprefix("% needs ")
    lines = [r"\documentclass{article}", packages, r"\begin{document}", body, r"\end{document}"]
    (tmp_path / "document.tex").write_text("\n".join(lines))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
