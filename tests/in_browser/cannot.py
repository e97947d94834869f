"""What a browser cannot do, and why.

Of each test in TESTS and file in FILES a run sees for itself that it cannot: it fails, in the words of `sign`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why something is skipped.   sign: what the failure says, a regular expression; empty: it is not run."""

    text: str
    sign: str


THREADS = Reason("a browser starts no threads", r"can't start new thread|unable to start watchdog thread")
ALONE = Reason("in a browser blocks have one thread", r"get_threads|= len\(\{\d+\}\)")
MEMORY = Reason("a browser does not tell how much memory is in use", "memory_peak")
PROGRAMS = Reason("a browser starts no programs", r"emscripten does not support processes")
_ABSENT = "_multiprocessing|fcntl|h5py|lzma|matplotlib|ml_dtypes|pooch|requests|resource|threadpoolctl|tqdm"
PACKAGES = Reason("browsers are not given this package", f"No module named .({_ABSENT})")

SYSTEM = Reason("a browser's files know no links and pipes", r"module 'os' has no attribute '(link|mkfifo)'")
MINUTES = Reason("takes minutes without BLAS", "")
WAITING = Reason("waits half a minute for a second thread, which a browser does not start", "")
NAMES = Reason("a browser's names of files are all UTF-8", "'d\ufffdg'")
ADDRESSES = Reason("a browser's addresses have 32 bits", "Maximum allowed dimension exceeded|array is too big")
CODECS = Reason("a browser's Pillow writes no TIFF packed as JPEG", "encoder error -2 when writing image file")

# Files that cannot even be imported.
FILES: dict[str, Reason] = {"test_data_opened.py": CODECS}

# Tests, by file.
_TESTS = {
    THREADS: """
        backend: test_matmul_is_the_product_and_may_be_called_within_a_block
        backend: test_threads_that_compute_at_once_get_the_bits_of_one_alone
        exercises_interface: test_the_page_says_what_the_command_line_says
        graph: test_two_threads
        memory: test_threads_that_take_and_drop
        watching: test_threads
    """,
    ALONE: """
        backend: test_ctrl_c_while_python_starts_a_thread_is_ctrl_c
        backend: test_set_threads_within_a_block_is_refused
        backend: test_what_the_caller_has_set_for_itself_is_set_on_other_threads
    """,
    PROGRAMS: """
        clip: test_on_a_gpu_nobody_waits_and_the_numbers_are_the_same test_recorded_steps_are_clipped_alike
        data_cifar: test_a_nested_tuple_keeps_the_reader_busy_for_no_longer_than_anything_else
        data_load: test_importing_the_package_imports_no_optional_one
        data_loader: test_a_gpu_gets_the_same_batches test_what_a_caller_writes_into_a_batch_changes_no_other
        data_mix: test_a_gpu_gets_the_same_batches test_recorded_steps_take_soft_labels
        data_stream: test_batches_on_a_gpu
        detector: test_a_step_on_the_gpu test_an_evaluation_on_the_gpu
        ema: test_on_a_gpu_an_update_is_one_launch_and_waits_for_nobody
        exercises: test_a_file_that_ends_the_process test_a_file_that_is_no_text test_a_loop_without_an_end
        exercises: test_from_any_folder test_list_start_check test_no_permission test_nobody_reads_on
        exercises: test_noise_does_no_harm test_nothing_is_overwritten test_second_hint_on_the_command_line
        exercises: test_the_pages_sessions test_what_an_exception_means
        exercises_interface: test_in_a_process_of_its_own
        exercises_language: test_the_file_is_gettexts
        explain: test_on_a_gpu
        layerwise: test_on_a_gpu_nobody_waits
        module: TestWhatAUserWrites::test_help_says_where_to_begin
        randaugment: test_the_same_images_from_the_middle_in_shards_and_on_a_gpu
        recompute: test_a_recorded_step_on_a_gpu test_steps_are_recorded_anew_for_other_segments
        robustness: TestAttacks::test_on_a_gpu
    """,
    PACKAGES: """
        backend: test_another_thread_waits_for_its_turn test_blas_has_its_threads_back_afterwards
        backend: test_ctrl_c_anywhere_leaves_threads_and_blas_usable
        calibration: test_a_temperature_beside_the_weights_and_what_uses_it
        calibration: test_an_ensemble_has_a_temperature_of_its_own
        data_packed: test_a_window_as_large_as_the_file_claims test_packed_badly
        data_packed: test_xz_is_read_whole_and_from_any_place
        edges: test_a_picture_of_the_scripts_own_is test_what_a_terminal_would_obey_is_escaped_once
        ema: test_its_curve_is_drawn
        gated_activations: test_the_picture_shows_every_function
        graph: test_a_family test_boxes_do_not_lie_on_each_other test_the_picture_names_every_call_and_its_shape
        grouped_conv: test_halves_are_added_up_in_float32
        lr_finder: test_find_lr
        readings: test_every_script_says_what_it_assumes_and_takes_the_part
        retrieval: test_a_query_finds_itself_and_its_twin test_an_index_of_other_weights_or_a_damaged_one
        retrieval: test_broken_pictures test_only_what_is_new_or_has_changed_is_looked_at
        retrieval: test_what_a_user_may_ask_for_that_is_not_there
        robustness: TestScript::test_all_of_it TestScript::test_pictures_of_a_folder
        schedules: test_the_picture_shows_every_schedule
        upsample: test_halves_are_added_up_in_float32
    """,
    SYSTEM: """
        pretrained_directory: test_shards_outside_of_the_folder_are_not_opened test_weights_that_are_no_file
        pretrained_directory: test_what_is_no_file
    """,
    NAMES: """
        data_folders: TestNames::test_not_utf8
    """,
    ADDRESSES: """
        pretrained_families: test_a_head_of_nothing_for_more_classes_than_memory_holds
        pretrained_families: test_shapes_that_make_no_sense_are_read_or_refused
    """,
    MEMORY: """
        backend: test_peak_memory_is_told
    """,
    WAITING: """
        backend: test_blocks_run_on_other_threads test_each_thread_has_neighbouring_blocks_and_helps_with_the_rest
        backend: test_scratch_memory_is_one_threads_own
    """,
    MINUTES: """
        data_synthetic: test_a_linear_classifier_gets_nowhere test_the_linear_classifier_would_find_a_linear_clue
        probe: test_a_max_pool_behind_a_small_stem
    """,
}
TESTS = {
    f"test_{line.partition(':')[0]}.py::{test}": reason
    for reason, lines in _TESTS.items()
    for line in lines.split("\n        ")
    for test in line.partition(": ")[2].split()
}

# Files about something else than what runs in a page; they are not looked at.
ELSEWHERE = {
    "GPUs, or programs that compile kernels for them": (
        "after_resnet gpu gpu_benchmark gpu_double kernels precision recorded_step several_gpus"
    ),
    "several processes": "guard install interrupts processes ranks federated scratch",
    "scripts for a terminal, and their runs": (
        "against benchmarks browser campaign claim compare detect distillation experiments finetune generations ideas "
        "kept leaks linear_to_resnet meant measuring pictures pipeline_benchmark recording runs saved segment "
        "snapshots strong_training tensorboard together train_cifar"
    ),
    "downloads and archives of photographs": "data_copies data_download",
    "comparisons with another library": "families_parity parity",
    "the pages as a site, and as files": "docs docs_zh drawings live live_session site types",
}
LEFT_OUT = {f"test_{name}.py": why for why, names in ELSEWHERE.items() for name in names.split()}

# Files that take longest, without which a run is short.
_LONG = """
    calibration compression data_mix data_synthetic detector ensemble exercises_interface fold googlenet heads imagenet
    inception models probe protocol readings recompute retrieval robustness segmentation shards vgg
"""
LONG = [f"test_{name}.py" for name in _LONG.split()]
