"""The tables of log keys in the README, read back."""

import re


def documented_keys(text, marker, all_stages):
    """`{stage: keys}` of the table between `<!-- marker -->` comments: | `key` | stages | meaning | when |."""
    table = re.search(rf"<!-- {marker} -->(.*?)<!-- /{marker} -->", text, re.DOTALL)
    assert table, f"README.md has no table between <!-- {marker} --> and <!-- /{marker} -->"
    keys = {stage: set() for stage in all_stages}
    for line in table.group(1).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not cells[0].startswith("`"):
            continue
        stages = {stage.strip() for stage in cells[1].split(",")}
        assert stages <= all_stages, f"{cells[0]}: {stages - all_stages}"
        assert all(cells[2:]), f"{cells[0]} has an empty cell"
        for stage in stages:
            keys[stage].add(cells[0].strip("`"))
    return keys
