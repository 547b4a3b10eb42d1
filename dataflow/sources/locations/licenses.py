"""The SPDX licence of an installed distribution, from its core metadata."""

from __future__ import annotations

import re
from importlib.metadata import PackageMetadata

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Zope Public License": "ZPL-2.1",
    "zlib/libpng License": "Zlib",
}
_FREE_TEXT = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc": "ISC",
    "lgpl-2.1-or-later": "LGPL-2.1-or-later",
    "mit": "MIT",
    "mit license": "MIT",
    "mpl 2.0": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "new bsd": "BSD-3-Clause",
    "psf": "PSF-2.0",
    "psf-2.0": "PSF-2.0",
    "the mit license": "MIT",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
}
EXPRESSION = re.compile(r"^[A-Za-z0-9.+()-]+( (AND|OR|WITH) [A-Za-z0-9.+()-]+)*$")


def license_of(metadata: PackageMetadata) -> str:
    """``License-Expression`` where there is one, else what ``License`` or the classifiers map to.

    Empty where they say nothing that has one SPDX id.
    """
    expression = _last(metadata, "License-Expression")
    if EXPRESSION.match(expression):
        return expression
    stated = _last(metadata, "License").lower()
    if stated in _FREE_TEXT:
        return _FREE_TEXT[stated]
    found = {
        _CLASSIFIERS[last]
        for line in metadata.get_all("Classifier") or []
        if (last := str(line).rsplit(" :: ", 1)[-1]) in _CLASSIFIERS
    }
    return found.pop() if len(found) == 1 else ""


def _last(metadata: PackageMetadata, name: str) -> str:
    values = metadata.get_all(name) or [""]
    return str(values[-1]).strip()
