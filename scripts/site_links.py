"""Links of `make docs` (a hook of MkDocs): README.md becomes the first page, and pages may link out of docs/.

On the web site there is no folder above docs/. A file named there, such as a picture under results/, is
brought along; where a folder or another Markdown file is named, the words stay without a link.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

_OUTSIDE = re.compile(
    r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\((?:\.\./)+([^)#]+)(?:#[^)]*)?\)"
)  # image, words, path


def on_files(files: "Files", *, config: Any) -> "Files":
    """Add README.md as the first page, and the files above docs/ that pages link to."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - an extra, which the tests of links do without

    docs = Path(config.docs_dir)
    index = as_first_page((docs.parent / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=index))
    pages = [index, *(page.read_text(encoding="utf-8") for page in docs.rglob("*.md"))]
    for path in sorted({found[3] for page in pages for found in _OUTSIDE.finditer(page)}):
        if _brought_along(docs.parent, path):
            files.append(File.generated(config, f"files/{path}", abs_src_path=str(docs.parent / path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: "Files") -> str:
    """The page with links that hold on the site."""
    up = "../" * page.file.src_uri.count("/")
    return with_links_inside(markdown, Path(config.docs_dir).parent, up)


def as_first_page(readme: str) -> str:
    """README.md as a page of docs/: what it links to in docs/ is beside it, all else is above it."""
    return re.sub(r"\]\((?!https?:|#)(docs/)?", lambda found: "](" if found[1] else "](../", readme)


def with_links_inside(markdown: str, root: Path, up: str = "") -> str:
    """Links out of docs/ become links to `files/`, under `up`, or plain words."""

    def inside(found: re.Match[str]) -> str:
        image, words, path = found.groups()
        return f"{image}[{words}]({up}files/{path})" if _brought_along(root, path) else words

    return _OUTSIDE.sub(inside, markdown)


def _brought_along(root: Path, path: str) -> bool:
    return (root / path).is_file() and not path.endswith(".md")
