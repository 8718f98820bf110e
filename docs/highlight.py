"""A hook of the site: in a console block only what follows "$ " is a command, not "# ..." too."""

import re

from pygments.lexers.shell import BashSessionLexer

BashSessionLexer._ps1rgx = re.compile(r"^(\$ )(.*\n?)")
