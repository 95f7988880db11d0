"""Run a program as an ordinary user from root, who sees a few folders more, without changing the machine.

The program gets a mount namespace of its own: a device file for FUSE that everybody may use, an entry in /etc/passwd
with an empty home folder, and the files it needs, though they lie in folders that are closed to the user, such as
root's home. All of it ends with the program.

Apptainer finds its parts by the path of its own program, which it only sees where the program lies on the root mount.
So a program from a closed folder is copied into a new root in memory, in which all else is bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

# $1 user, $2 group, $3 what to do, one step a line; then the command.
# "root": what follows is done below a new root. Others have a path after them: "bind" it, "link" or "copy" it, make a
# "folder" like it or one that is "open"; "hide" it behind an empty one; "keep" it, and "show" what was kept.
SCRIPT = r"""
set -eu
user=$1 group=$2 steps=$3
shift 3
new='' own=/dev/shm
mount -t tmpfs -o mode=755 mlip /dev/shm
newline='
'
IFS=$newline
set -f
for step in $steps; do
  path=${step#* }
  case $step in
    root)
      new=/dev/shm own=/dev/shm/.mlip
      mkdir "$own" "$new/dev"
      mount --rbind /dev "$new/dev"
      mount -t tmpfs -o mode=1777 mlip "$new/dev/shm"
      ;;
    hide\ *) mount -t tmpfs -o mode=755 mlip "$new$path" ;;
    open\ *) mkdir "$new$path" ;;
    folder\ *)
      mkdir "$new$path"
      chown --reference="$path" "$new$path"
      chmod --reference="$path" "$new$path"
      ;;
    link\ *) cp -P "$path" "$new$path" ;;
    copy\ *) mkdir -p "$new${path%/*}" && cp -a "$path" "$new${path%/*}/" ;;
    keep\ *)
      number=$((${number:-0} + 1))
      if [ -d "$path" ]; then mkdir -p "$own/kept/$number"; else mkdir -p "$own/kept" && : > "$own/kept/$number"; fi
      mount --rbind "$path" "$own/kept/$number"
      ;;
    show\ *)
      shown=$((${shown:-0} + 1))
      if [ -d "$own/kept/$shown" ]; then mkdir -p "$new$path"; else mkdir -p "$new${path%/*}" && : >> "$new$path"; fi
      mount --rbind "$own/kept/$shown" "$new$path"
      ;;
    bind\ *)
      if [ -d "$path" ]; then mkdir -p "$new$path"; else : > "$new$path"; fi
      mount --rbind "$path" "$new$path" || [ ! -e "$path" ] # gone since it was listed
      ;;
  esac
done
if [ -c /dev/fuse ]; then
  mknod "$own/fuse" c 10 229
  chmod 666 "$own/fuse"
  mount --bind "$own/fuse" "$new/dev/fuse"
fi
mkdir "$own/home"
chown "$user:$group" "$own/home"
home=${own#"$new"}/home
{ echo "mlip:x:$user:$group::$home:/bin/sh"; awk -F: -v user="$user" '$3 != user' /etc/passwd; } > "$own/passwd"
mount --bind "$own/passwd" "$new/etc/passwd"
if [ -n "$new" ]; then
  cd "$new"
  pivot_root . .
  umount -l .
  cd /
fi
export HOME="$home" USER=mlip LOGNAME=mlip
unset XDG_RUNTIME_DIR XDG_CACHE_HOME XDG_CONFIG_HOME IFS
exec setpriv --reuid "$user" --regid "$group" --clear-groups -- "$@"
"""


def _searchable(folder: Path, user: tuple[int, int]) -> bool:
    """Whether a user may look into a folder."""
    status = folder.stat()
    if status.st_uid == user[0]:
        return bool(status.st_mode & 0o100)
    if status.st_gid == user[1]:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def closed_folders(paths: Sequence[Path], user: tuple[int, int]) -> list[Path]:
    """The folders on the way to these paths that a user may not enter; the uppermost of each way."""
    ways = [[folder for folder in reversed(path.parents) if not _searchable(folder, user)] for path in paths]
    return sorted({way[0] for way in ways if way})


def _entries(folder: Path, closed: Path) -> Iterator[str]:
    """The steps that fill a new root with what a folder holds, but for what a closed folder holds."""
    for path in sorted(folder.iterdir()):
        if path == Path("/dev"):
            continue
        if path.is_symlink():
            yield f"link {path}"
        elif path == closed:
            yield f"open {path}"
        elif path in closed.parents:
            yield f"folder {path}"
            yield from _entries(path, closed)
        elif path.is_dir() or path.is_file():
            yield f"bind {path}"


def steps(program: Path, needed: Sequence[Path], user: tuple[int, int]) -> list[str]:
    """What is done so that a user may run the program of a folder and reach the files it needs."""
    around = closed_folders([program], user)
    closed = closed_folders([program, *needed], user)
    kept = sorted({path for path in needed if any(folder in path.parents for folder in closed)})
    hide = [f"hide {folder}" for folder in closed if folder not in around]
    keep, show = [f"keep {path}" for path in kept], [f"show {path}" for path in kept]
    if around:
        return ["root", *_entries(Path("/"), around[0]), f"copy {program}", *keep, *hide, *show]
    return [*keep, *hide, *show]


def command_line(command: Sequence[str], user: tuple[int, int], program: Path, needed: Sequence[Path]) -> list[str]:
    """The words that run a command as a user.

    Args:
        command: the command.
        user: user and group.
        program: the folder of the program that the command runs.
        needed: other files and folders that it must see.
    """
    plan = steps(program.resolve(), [path.resolve() for path in needed], user)
    return [
        *("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", SCRIPT, "sh"),
        *(str(user[0]), str(user[1]), "\n".join(plan)),
        *command,
    ]
