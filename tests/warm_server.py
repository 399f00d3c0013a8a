"""The other end of warm_client.py: each process that it asks for is a fork of this one."""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import types

OWN = os.environ.get("PYTHONPATH", "").split(os.pathsep)
PATH = [folder for folder in sys.path if folder not in OWN]  # before imports add to it
# What takes long to import, and what runs import later anyhow; of the bundle nothing, since packages hold it as well.
for _name in ("monai.bundle", "torch._dynamo", "torch.utils.benchmark", "torch.distributed.run"):
    importlib.import_module(_name)
gc.collect()
gc.freeze()  # else each process ends by looking through all of it, which takes more than a second
OFFLINE = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "offline.py"))
_PARENT = 0  # a pipe that ends when the tests do
_AWAY = 512  # numbers of files above those that processes are handed


def serve(listener):
    """Forks for each that connects, in a fork that watches it; returns, in the process, what it is to do."""
    while listener in select.select([listener, _PARENT], [], [])[0]:
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return split_off(link)
        link.close()
        reap(os.WNOHANG)
    reap(0)
    os._exit(0)


def reap(options):
    """Take note of the forks that have ended, or wait for all of them."""
    try:
        while os.waitpid(-1, options)[0]:
            pass
    except ChildProcessError:
        pass


def split_off(link):
    """Forks again; the first of the two says how the second ends, and ends it when who asked for it is gone."""
    files = socket.recv_fds(link, 1, 250)[1]
    asked = json.loads(link.makefile().readline())
    process = os.fork()
    if process == 0:
        link.close()
        return asked, files
    for file in files:
        os.close(file)
    end = os.pidfd_open(process)
    if end not in select.select([link, _PARENT, end], [], [])[0]:
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        link.sendall(str(status).encode())
    finally:
        os._exit(0)


def take_over(asked, files):
    """Files under the numbers, variables and folder of who asked; returns the words behind Python's own options."""
    away = [os.dup2(file, _AWAY + place) for place, file in enumerate(files)]
    for file in files:
        os.close(file)
    for file, number in zip(away, asked["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    words, options = asked["words"], set()
    while words[0].startswith("-") and words[0] not in ("-m", "-c"):
        option = words.pop(0)
        assert option in ("-u", "-B", "-X") or option.startswith("-W"), f"warm_server.py does not know {option}"
        options.add(option)
        if option in ("-X", "-W"):
            words.pop(0)
    sys.dont_write_bytecode = "-B" in options or bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    if "-u" in options:
        sys.stdout.reconfigure(line_buffering=True)
    return words


words = take_over(*serve(socket.socket(fileno=int(sys.argv[1]))))
# Who is given an address may go there, and processes that torchrun starts have to meet.
if not any(word.startswith(("http", "torch.distributed")) for word in words) and "WORLD_SIZE" not in os.environ:
    OFFLINE["watch"](OFFLINE["refuse"])
sys.path = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder] + PATH
if words[0] == "-m":
    sys.path.insert(0, os.getcwd())
    sys.argv = words[1:]
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)
elif words[0] == "-c":
    sys.path.insert(0, "")
    sys.argv = ["-c", *words[2:]]
    sys.modules["__main__"] = types.ModuleType("__main__")
    exec(words[1], sys.modules["__main__"].__dict__)
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
