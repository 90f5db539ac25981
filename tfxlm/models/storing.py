"""Models between memory, folders and the hub, under the names and options of `transformers`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tfxlm.checkpoints import NameMap
from tfxlm.configs import CONFIG_FILE, PreTrainedConfig
from tfxlm.errors import ArgumentError, InputError
from tfxlm.files import upload_folder
from tfxlm.models import loading
from tfxlm.models.options import dtype_policy, pop_loading
from tfxlm.models.surgery import AlterableModel


class StorableModel(AlterableModel):
    """A model that is loaded from checkpoints and saved as one."""

    config_class: ClassVar[type[PreTrainedConfig]]
    name_map: ClassVar[NameMap]
    # Stored in config.json, so that `transformers` finds its class.
    architecture: ClassVar[str] = ""
    # What the class takes beside its configuration.
    layer_options: ClassVar[tuple[str, ...]] = ()
    # Checkpoints of a class without a head hold names without the backbone's prefix.
    has_head: ClassVar[bool] = True
    # Whether the variables are the memory of files: see `from_pretrained`.
    is_memory_mapped: bool = False

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *model_args: Any,
        config: PreTrainedConfig | str | Path | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> Any:
        """Loads a model from a folder or the Hugging Face hub, without PyTorch and without a second copy in memory.

        Args:
            pretrained_model_name_or_path: folder with ``config.json`` and weights (safetensors, ``.bin`` of any
                version of PyTorch, or ``tf_model.h5``; whole or sharded); name of a hub repository; or a checkpoint of
                another program: ``.pth`` of the original XLM, or ``model.pt`` of fairseq, or the folder of one.
            *model_args: what the class takes beside its configuration (`layer_options`), which may also be by name.
            config: a configuration to use in place of the stored one.
            ignore_mismatched_sizes: whether head weights of another shape are freshly initialised instead of refused.
            output_loading_info: whether to return the `LoadReport` too.
            name: name of the Keras model.
            **options: files: `revision`, `token` (`use_auth_token`), `subfolder`, `local_files_only`, `cache_dir`,
                `force_download`; `variant` (``"fp16"`` for ``model.fp16.safetensors``), `use_safetensors` (True or
                False for one of the two formats). `dtype` (`torch_dtype`): Keras dtype or policy of the model, whatever
                the file's; "auto" for the dtype that the configuration names; the global policy by default.
                `device_map`: one device for all variables, such as "cpu" or "cuda:0"; "auto" leaves the choice.
                `memory_map`: True makes the files' memory map the variables: see below.
                `corrections`: False leaves fields of released configurations that are known to be wrong as they are.
                Anything else replaces a field of the configuration, for example ``num_labels=3``. Options of
                `transformers` that mean nothing here (`from_pt`, `from_tf`, `low_cpu_mem_usage`, ...) have no effect,
                and those that would mislead (`quantization_config`, `from_flax=True`, ...) are refused.

        With `memory_map` nothing is read before it is needed, and what was read can be dropped again at any time: a
        model may be larger than memory, and several processes share one copy. That is for computing answers on the
        CPU: such a model cannot be trained, quantized, given LoRA or all weights anew, and dense kernels are (out, in)
        in its variables. New values of embeddings and of a bias are memory of its own, and change no file. `dtype` must
        be the file's. Tensors that do not start at a multiple of 64 bytes are copied (`report.copied`);
        `tfxlm.convert_checkpoint` and `save_pretrained` write files without such, where sizes allow it. The files must
        stay as they are while the model lives: one that gets shorter takes the process down.

        Returns:
            The model, or ``(model, report)``.

        Raises:
            CheckpointNotFoundError: when there is no such folder, repository or file.
            CorruptFileError, UnsafeFileError: when a file is broken, or asks for more than weights.
            WeightMismatchError: when names or shapes do not fit; all of them are listed.
            ConfigError: when the configuration is invalid or of another family, or `dtype` is no dtype.
            InputError: when `pretrained_model_name_or_path` is neither a path nor a name.
            ArgumentError: when options contradict each other, or one cannot be followed.
        """
        path = pretrained_model_name_or_path
        if not isinstance(path, str | os.PathLike):
            raise InputError(
                f"from_pretrained needs a folder or the name of a hub repository, got {path!r}. "
                f"For a new model without a checkpoint, use {cls.__name__}(config)."
            )
        asked = pop_loading(options)
        own = {name: options.pop(name) for name in cls.layer_options if name in options}
        if config is None or isinstance(config, str | Path):
            config = cls.config_class.from_pretrained(
                config or path, corrections=asked.corrections, **asked.hub, **options
            )
        elif options:
            config = config.replace(**options)
        dtype = config.dtype if isinstance(asked.dtype, str) and asked.dtype == "auto" else asked.dtype
        policy = dtype_policy(dtype)
        model, report = loading.load(
            lambda: cls(config, *model_args, dtype=policy, name=name, **own),
            cls.name_map,
            path,
            asked,
            ignore_mismatched_sizes,
        )
        return (model, report) if output_loading_info else model

    def check_own_memory(self, what: str) -> None:
        """Refuses what needs variables that can change.

        Raises:
            InputError: when they are the memory of files.
        """
        if self.is_memory_mapped:
            raise InputError(
                f"This {type(self).__name__} is a memory map of its checkpoint, which cannot {what}. Load it without "
                "memory_map=True."
            )

    def make_train_function(self, force: bool = False) -> Any:
        """Makes the function that trains; see `keras.Model`."""
        self.check_own_memory("be trained")
        return super().make_train_function(force)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Gives all variables new values; see `keras.Model`."""
        # Dense kernels lie the other way round, which nothing would notice where they are square.
        self.check_own_memory("take other weights")
        super().set_weights(weights)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Reads the weights from a file of Keras; see `keras.Model`."""
        self.check_own_memory("take other weights")
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)

    def save(self, filepath: str | Path, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Writes a file of Keras; see `keras.Model`.

        Raises:
            ConfigError: when the activation is a function of one's own, which no file can hold.
        """
        # Keras asks for it when it has opened the file, and emptied one that was there.
        self.get_config()
        super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_pretrained(
        self,
        save_directory: str | Path,
        saved_model: bool = False,
        version: int = 1,
        push_to_hub: bool = False,
        signatures: Any = None,
        max_shard_size: int | str = "5GB",
        create_pr: bool = False,
        safe_serialization: bool = True,
        token: str | bool | None = None,
        **hub: Any,
    ) -> None:
        """Writes ``config.json`` and ``model.safetensors`` (in shards when large) as `transformers` reads them.

        LoRA weights are added to those that they belong to.

        Args:
            save_directory: made when missing.
            saved_model: whether to export to ``saved_model/<version>`` in it, too; see `export`.
            version: of that.
            push_to_hub: whether to upload the files that were written; see the method of that name.
            signatures: must be None; exported signatures are those of `export`.
            max_shard_size: size of one file at most, in bytes or like "5GB".
            create_pr, token: see `push_to_hub`.
            safe_serialization: must be True: weights are written as safetensors.
            **hub: `repo_id` (the name of the folder by default), and other options of `push_to_hub`.

        Raises:
            InputError: when a layer is quantized, or `max_shard_size` is no size.
            ConfigError: when the activation is a function of one's own, which no file can hold.
            ArgumentError: when an option cannot be followed.
            OutputExistsError: when `save_directory` is a file, or that version exists.
            UploadError: when the upload fails.
        """
        if not safe_serialization:
            raise ArgumentError(
                "safe_serialization=False asks for tf_model.h5 or pytorch_model.bin, which are not written. Leave it "
                "out: safetensors files are read by PyTorch, transformers and tfxlm alike."
            )
        if signatures is not None:
            raise ArgumentError("signatures cannot be given to save_pretrained; tfxlm.export_model makes its own.")
        folder = Path(save_directory)
        where = _destination({"repo_id": folder.absolute().name, "token": token, "create_pr": create_pr, **hub})
        dtype = self.dtype_policy.variable_dtype
        config = self.config.replace(architectures=[self.architecture], dtype=dtype)
        config.to_dict()  # refuses what no file can hold, before there are files
        # Weights first: when they cannot be written, a configuration must not claim them.
        bare = not self.has_head
        files = loading.save(self, self.name_map, folder, bare=bare, max_shard_size=max_shard_size)
        config.save_pretrained(folder)
        if saved_model:
            self.export(folder / "saved_model", version=version)
        if push_to_hub:
            upload_folder(folder, names=[CONFIG_FILE, *(file.name for file in files)], **where)

    def push_to_hub(
        self,
        repo_id: str,
        use_temp_dir: bool | None = None,
        commit_message: str | None = None,
        private: bool | None = None,
        max_shard_size: int | str = "5GB",
        token: str | bool | None = None,
        use_auth_token: str | bool | None = None,
        create_pr: bool = False,
        revision: str | None = None,
        safe_serialization: bool = True,
    ) -> str:
        """Uploads the model to the Hugging Face hub.

        Args:
            repo_id: name of the repository, which is made when it is missing.
            use_temp_dir: must not be False: a temporary folder holds the files meanwhile.
            commit_message: of the commit.
            private: whether a new repository is private.
            max_shard_size, safe_serialization: see `save_pretrained`.
            token, use_auth_token: hub token, True for the stored one.
            create_pr: whether to open a pull request instead of a commit.
            revision: branch to commit to.

        Returns:
            The address of the commit, or of the pull request.

        Raises:
            UploadError: when the upload fails.
            ArgumentError, InputError: as `save_pretrained`.
        """
        if use_temp_dir is False:
            raise ArgumentError(
                "use_temp_dir=False is not something that push_to_hub can do. To keep the files, call "
                f"save_pretrained(folder, push_to_hub=True, repo_id={repo_id!r})."
            )
        options = {"token": token, "use_auth_token": use_auth_token, "create_pr": create_pr, "revision": revision}
        where = _destination({"repo_id": repo_id, "commit_message": commit_message, "private": private, **options})
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size, safe_serialization=safe_serialization)
            return upload_folder(folder, names=["*"], **where)

    @property
    def name_or_path(self) -> str:
        """Where the model came from."""
        return self.config.name_or_path


_DESTINATION = ("repo_id", "commit_message", "private", "token", "revision", "create_pr")


def _destination(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of an upload as `upload_folder` takes them.

    Raises:
        ArgumentError: for one that it does not take, and when `token` is given twice.
    """
    old_token = options.pop("use_auth_token", None)
    if None not in (old_token, options.get("token")):
        raise ArgumentError("token and use_auth_token are one option. Give token alone.")
    if old_token is not None:
        options["token"] = old_token
    if options.get("create_pr") and options.get("revision") is not None:
        raise ArgumentError("create_pr=True opens a pull request to the default branch. Leave revision out.")
    unknown = [name for name in options if name not in _DESTINATION]
    if unknown:
        raise ArgumentError(
            f"save_pretrained does not take {', '.join(unknown)}. For uploads it takes {', '.join(_DESTINATION)}."
        )
    return options
