"""Files that the ready-made tools never change: what is in them is run by other programs, or is a secret."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["is_protected"]

# With all that they hold. What git, editors, CI and agents read by themselves runs code for who opens the folder.
_FOLDERS = frozenset(
    [
        *(".git", "git~1", ".hg", ".svn", ".githooks", ".husky"),
        *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".gcloud"),
        *(".github", ".gitlab", ".gitea", ".forgejo", ".circleci", ".buildkite", ".woodpecker", ".ci"),
        *(".vscode", ".idea", ".fleet", ".zed", ".devcontainer"),
        *(".agentkit", ".claude", ".codex", ".cursor", ".gemini", ".windsurf", ".continue", ".aider"),
        *(".config", ".local", ".direnv", ".cargo"),
    ]
)
_FILES = frozenset(
    [
        *(".gitconfig", ".gitmodules", ".gitattributes", ".git-credentials", ".hgrc"),
        # A folder with HEAD, objects and refs is a repository to git, and its `config` runs commands.
        "head",
        *(".profile", ".login", ".logout", ".inputrc", ".zshenv", ".zprofile", ".zshrc", ".zlogin", ".zlogout"),
        *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".kshrc", ".cshrc", ".tcshrc"),
        *(".netrc", "_netrc", ".pypirc", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", ".dockercfg", ".pgpass"),
        *(
            ".vimrc",
            ".gvimrc",
            ".exrc",
            ".nvimrc",
            ".emacs",
            ".gdbinit",
            ".lldbinit",
            ".pythonrc",
            ".pdbrc",
            ".xprofile",
        ),
        *(
            ".gitlab-ci.yml",
            ".travis.yml",
            ".drone.yml",
            "jenkinsfile",
            "azure-pipelines.yml",
            "bitbucket-pipelines.yml",
        ),
        *(".pre-commit-config.yaml", ".lefthook.yml", "lefthook.yml", ".mcp.json", ".cursorrules", ".windsurfrules"),
        *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "authorized_keys", "known_hosts", "agents.md", "claude.md"),
    ]
)


def is_protected(parts: Sequence[str]) -> bool:
    """Whether a path, given as its names, is one of them or in one of them: git's files, shell start files, `.env*`, …

    Names are compared as the most forgiving file system would: `.GIT`, `.git.` and `.g\u200cit` are `.git`.

    Source: faults.md, P10.
    """
    return any(name in _FOLDERS or name in _FILES or name.startswith(".env") for name in map(_plain, parts))


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold().partition(":")[0]
    return "".join(it for it in folded if unicodedata.category(it) not in ("Cf", "Cc")).rstrip(". ")
