"""Errors, settings, the command line, files and locks: what every package stands on."""

from .as_typed import put_value
from .atomic import (
    Replacement,
    file_system_time_ns,
    is_alive,
    link_atomically,
    remove_stale_parts,
    save_atomically,
    save_together,
    scratch_folder,
    write_bytes,
    write_text,
)
from .claims import Claims, sole_run
from .command_line import begin, user_error
from .earlier import EarlierResults, dated, keep_aside
from .errors import BundleError, SettingError, SlideError
from .foreign import insist_on_unpacked, parsed_json, read_json_file, read_small, read_yaml_file
from .from_ids import FromIds, target_of
from .history import read_history
from .kinds import KIND_OF, is_not_given
from .lock import writer_lock
from .memory import available_memory, total_memory
from .naming import did_you_mean
from .places import CONFIGS, ROOT
from .progress import Progress
from .quiet import quietly
from .ranks import own_rank, own_world_size
from .recorded import CONTRACT_ATTRIBUTES, DAMAGED_FILE, contract_difference, encoder_key, plain_value
from .scarcity import NoMemoryError, ran_out
from .searching import files_below, readable, tells_no_names_apart
from .settings import as_amp, as_bool, as_number, as_whole, check_device, check_folder
from .signals import ENDING
from .stopping import heed, insist_on_wanted
from .torchrun import Meeting, meeting

__all__ = [
    "BundleError",
    "CONFIGS",
    "CONTRACT_ATTRIBUTES",
    "Claims",
    "DAMAGED_FILE",
    "ENDING",
    "EarlierResults",
    "FromIds",
    "KIND_OF",
    "Meeting",
    "NoMemoryError",
    "Progress",
    "ROOT",
    "Replacement",
    "SettingError",
    "SlideError",
    "as_amp",
    "as_bool",
    "as_number",
    "as_whole",
    "available_memory",
    "begin",
    "check_device",
    "check_folder",
    "contract_difference",
    "dated",
    "did_you_mean",
    "encoder_key",
    "file_system_time_ns",
    "files_below",
    "heed",
    "insist_on_unpacked",
    "insist_on_wanted",
    "is_alive",
    "is_not_given",
    "keep_aside",
    "link_atomically",
    "meeting",
    "own_rank",
    "own_world_size",
    "parsed_json",
    "plain_value",
    "put_value",
    "quietly",
    "ran_out",
    "read_history",
    "read_json_file",
    "read_small",
    "read_yaml_file",
    "readable",
    "remove_stale_parts",
    "save_atomically",
    "save_together",
    "scratch_folder",
    "sole_run",
    "target_of",
    "tells_no_names_apart",
    "total_memory",
    "user_error",
    "write_bytes",
    "write_text",
    "writer_lock",
]
