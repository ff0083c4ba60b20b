"""Words of programmers that mean much the same: a search for one of a line also looks for the others."""

from __future__ import annotations

from collections import defaultdict

from agentkit.emulator.stems import stem

__all__ = ["synonyms"]

_ALIKE = """
run execute launch start invoke spawn
program command executable application script
subprocess process
biggest largest maximum top greatest highest
smallest least minimum lowest
encrypt cipher
hash digest checksum fingerprint
thread concurrent parallel simultaneous
background daemon
delete remove erase
folder directory
copy duplicate clone
rename move
download fetch retrieve
web http internet website online
address url link
mail email message
page document
compress shrink pack zip
decompress unpack extract unzip
random chance
secure safe cryptographic
password secret credential
terminal console shell
window gui dialog
picture image
sound audio
time clock
date day
pause sleep wait delay
quick fast speed performance slow
measure benchmark time
log record
error exception failure crash
bug debug
test check verify validate
fake mock stub
persist store save keep
load read
write output
print display show
format layout
parse interpret
convert transform translate
encode serialize
decode deserialize
text string
character letter
number numeric integer
decimal exact precise
average mean
dictionary mapping
order sort
count tally frequency
merge combine join concatenate
split divide separate
group cluster
compare difference diff
similar close alike
search find locate
replace substitute
pattern regex regular
configuration setting preference option
argument parameter
environment variable
function method callable
attribute property field
import load
memory ram
cache memoize remember
bytes binary
compile build
documentation docs manual help
monitor watch observe
signal interrupt
exit quit terminate shutdown
network socket connection
server host
client customer
table row column
quote escape
language locale country
unique distinct identifier
tree hierarchy
loop iterate repeat
lazy generator
color colour
user account
permission access right
""".strip().splitlines()


def _groups() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for line in _ALIKE:
        words = [stem(word) for word in line.split()]
        for word in words:
            groups[word] += [other for other in words if other not in (word, *groups[word])]
    return dict(groups)


_GROUPS = _groups()


def synonyms(word: str) -> list[str]:
    """Stems of other words for a stem."""
    return _GROUPS.get(word, [])
