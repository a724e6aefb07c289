"""Folders that bring code, name classes of their own, or hold JSON that no library should read."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from tests.audit.model.loading.folders import (
    CONFIGS,
    DEEP,
    Change,
    bring_code,
    config,
    edit_config,
    edit_index,
    index,
    text,
    whole_config,
    write,
)


def own_code(component: str, entry: list[str] | None, auto_map: Any, folder: Path) -> None:
    """Name code of the folder in a component's config, with an entry of the index that may be an automatic class."""
    bring_code(folder / component / "mine.py", folder)
    edit_config(component, folder, auto_map=auto_map)
    if entry is not None:
        edit_index(folder, **{component: entry})
        edit_config(component, folder, model_type="mine")


def own_module(component: str, entry: list[str], folder: Path) -> None:
    bring_code(folder / component / f"{entry[0]}.py", folder)
    bring_code(folder / f"{entry[0]}.py", folder)
    edit_index(folder, **{component: entry})


def own_pipeline(class_name: Any, folder: Path) -> None:
    for name in ("pipeline", "None", "mine"):
        bring_code(folder / f"{name}.py", folder)
    edit_index(folder, _class_name=class_name)


def custom_pipeline(folder: Path) -> None:
    bring_code(folder / "mine.py", folder)
    edit_index(folder, custom_pipeline="mine")


def connected_pipeline(folder: Path) -> None:
    edit_index(folder, _class_name="KandinskyV22Pipeline", movq=["diffusers", "VQModel"])
    write(folder / "README.md", "---\nprior:\n- owner/name\n---\n")


def code_of_a_part_inside(folder: Path) -> None:
    edit_index(folder, text_encoder=["transformers", "VisionTextDualEncoderModel"])
    inside = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Encoder"}}
    bring_code(folder / "text_encoder" / "mine.py", folder)
    edit_config("text_encoder", folder, model_type="vision-text-dual-encoder", text_config=inside, vision_config=inside)


def code_for_generation(folder: Path) -> None:
    bring_code(folder / "text_encoder" / "custom_generate" / "generate.py", folder)
    edit_index(folder, text_encoder=["transformers", "CLIPModel"])


def unused_component_with_code(folder: Path) -> None:
    bring_code(folder / "image_encoder" / "mine.py", folder)
    write(folder / "image_encoder" / "config.json", json.dumps({"auto_map": {"AutoModel": "mine.Encoder"}}))
    edit_index(folder, image_encoder=["transformers", "AutoModel"])


def other_component(name: str, folder: Path) -> None:
    edit_index(folder, **{name: ["transformers", "AutoModel"]})
    write(folder / "other" / "config.json", json.dumps({"auto_map": {"AutoModel": "mine.Encoder"}}))
    bring_code(folder / "other" / "mine.py", folder)


AUTO = {"AutoConfig": "mine.Config", "AutoModel": "mine.Encoder", "AutoTokenizer": ["mine.Tokenizer", None]}

CODE: dict[str, tuple[Change, str]] = {
    "automatic text encoder": (
        partial(own_code, "text_encoder", ["transformers", "AutoModel"], AUTO),
        "is of class transformers.AutoModel",
    ),
    "automatic text encoder of another name": (
        partial(own_code, "text_encoder", ["transformers", "AutoModelForTextEncoding"], AUTO),
        "is of class transformers.AutoModelForTextEncoding",
    ),
    "text encoder with auto_map": (partial(own_code, "text_encoder", None, AUTO), "names code of its own (auto_map)"),
    "text encoder with auto_map of the hub": (
        partial(own_code, "text_encoder", None, {"AutoModel": "owner/name--mine.Encoder"}),
        "auto_map",
    ),
    "automatic tokenizer": (
        partial(own_code, "tokenizer", ["transformers", "AutoTokenizer"], {"AutoTokenizer": ["mine.Tokenizer", None]}),
        "is of class transformers.AutoTokenizer",
    ),
    "tokenizer with auto_map": (
        partial(own_code, "tokenizer", None, {"AutoTokenizer": ["mine.Tokenizer", None]}),
        "names code of its own (auto_map)",
    ),
    "tokenizer with an old auto_map": (partial(own_code, "tokenizer", None, ["mine.Tokenizer", None]), "auto_map"),
    "tokenizer of its own": (
        partial(config, "tokenizer", {"tokenizer_class": "MyTokenizer"}),
        "names tokenizer class MyTokenizer",
    ),
    "scheduler with auto_map": (partial(own_code, "scheduler", None, {"AutoModel": "mine.Scheduler"}), "auto_map"),
    "scheduler of a file": (partial(own_module, "scheduler", ["mine", "Scheduler"]), "is of class mine.Scheduler"),
    "scheduler of a module": (partial(own_module, "scheduler", ["os", "system"]), "is of class os.system"),
    "scheduler that is no scheduler": (
        partial(index, {"scheduler": ["diffusers", "AutoModel"]}),
        "is of class diffusers.AutoModel",
    ),
    "scheduler that is a network": (
        partial(index, {"scheduler": ["diffusers", "AutoencoderKL"]}),
        "is of class diffusers.AutoencoderKL",
    ),
    "tokenizer of a file": (partial(own_module, "tokenizer", ["mine", "Tokenizer"]), "is of class mine.Tokenizer"),
    "tokenizer that is none": (
        partial(index, {"tokenizer": ["transformers", "CLIPTextModel"]}),
        "is of class transformers.CLIPTextModel",
    ),
    "unet of a file": (
        partial(own_module, "unet", ["mine", "UNet2DConditionModel"]),
        "is of class mine.UNet2DConditionModel",
    ),
    "unet of another library": (
        partial(own_module, "unet", ["transformers", "UNet2DConditionModel"]),
        "is of class transformers.UNet2DConditionModel",
    ),
    "automatic unet": (partial(own_code, "unet", ["diffusers", "AutoModel"], AUTO), "of no family"),
    "unet with auto_map": (partial(own_code, "unet", None, AUTO), "auto_map"),
    "vae of a file": (partial(own_module, "vae", ["mine", "AutoencoderKL"]), "is of class mine.AutoencoderKL"),
    "automatic vae": (partial(own_code, "vae", ["diffusers", "AutoModel"], AUTO), "is of class diffusers.AutoModel"),
    "vae of transformers": (
        partial(own_code, "vae", ["transformers", "AutoModel"], AUTO),
        "is of class transformers.AutoModel",
    ),
    "vae that is a unet": (
        partial(index, {"vae": ["diffusers", "UNet2DConditionModel"]}),
        "is of class diffusers.UNet2DConditionModel",
    ),
    "vae of videos": (
        partial(index, {"vae": ["diffusers", "AutoencoderKLTemporalDecoder"]}),
        "AutoencoderKLTemporalDecoder",
    ),
    "pipeline of a file": (partial(own_pipeline, ["pipeline", "Mine"]), "'pipeline', 'Mine'"),
    "pipeline of the hub": (partial(own_pipeline, ["owner/name", "Mine"]), "custom code is not run"),
    "pipeline named as a path": (partial(own_pipeline, "../mine"), "../mine"),
    "pipeline that diffusers lacks": (partial(own_pipeline, "mine"), "mine"),
    "pipeline that is a network": (partial(own_pipeline, "UNet2DConditionModel"), "UNet2DConditionModel"),
    "pipeline of no name": (partial(own_pipeline, None), "_class_name"),
    "pipeline that is a number": (partial(own_pipeline, 1), "_class_name"),
    "pipeline that is an object": (partial(own_pipeline, {"mine": "Mine"}), "_class_name"),
    "pipeline of one word in a list": (partial(own_pipeline, ["StableDiffusionPipeline"]), "_class_name"),
    "any pipeline": (partial(own_pipeline, "DiffusionPipeline"), "DiffusionPipeline"),
    "modular pipeline": (partial(own_pipeline, "ModularPipeline"), "ModularPipeline"),
    "pipeline of another model": (
        partial(
            index,
            {"_class_name": "StableDiffusionUpscalePipeline", "low_res_scheduler": ["diffusers", "DDPMScheduler"]},
        ),
        "low_res_scheduler",
    ),
    "custom pipeline": (custom_pipeline, "names code of its own (custom_pipeline)"),
    "pipeline that fetches another": (connected_pipeline, "has a component movq"),
    "code of a part inside a text encoder": (code_of_a_part_inside, "VisionTextDualEncoderModel"),
    "code for generation": (code_for_generation, "CLIPModel"),
    "component of no pipeline": (partial(other_component, "other"), "other"),
    "component outside the folder": (partial(other_component, "../other"), "../other"),
    "second text encoder of its own": (partial(other_component, "text_encoder_2"), "text_encoder_2"),
    "kernels of the hub": (
        partial(config, "text_encoder", {"attn_implementation": "owner/name:mine"}),
        "names code of its own (attn_implementation)",
    ),
    "entry that is text": (partial(index, {"vae": "AutoencoderKL"}), "vae"),
    "entry of one word": (partial(index, {"text_encoder": ["CLIPTextModel"]}), "text_encoder"),
    "entry of numbers": (partial(index, {"scheduler": [1, 2]}), "scheduler"),
    "entry of a nested list": (partial(index, {"vae": [["diffusers"], "AutoencoderKL"]}), "vae"),
}
JSON: dict[str, tuple[Change, str]] = {
    **{
        f"{component} config {name}": (partial(whole_config, component, content), component)
        for component in CONFIGS
        for name, content in (
            ("that is deep", DEEP),
            ("that is a list", "[]"),
            ("that is torn", '{"a": '),
            ("of long numbers", '{"sample_size": ' + "9" * 5000 + "}"),
            ("that is deep inside", '{"a": ' + '{"a": ' * 500 + "1" + "}" * 501),
        )
    },
    "huge config": (partial(whole_config, "unet", '{"a": "' + "a" * (40 << 20) + '"}'), "unet"),
    "deep index": (partial(text, "model_index.json", DEEP), "model_index.json"),
    "huge index": (partial(text, "model_index.json", '{"a": "' + "a" * (40 << 20) + '"}'), "model_index.json"),
    "index with commands for a terminal": (
        partial(index, {"_class_name": "\x1b[2J\nflashbulb: all is well"}),
        "_class_name",
    ),
    **{
        f"{component} of a list of classes": (
            partial(config, component, {"_class_name": ["mine", "UNet"]}),
            "_class_name",
        )
        for component in ("unet", "vae", "scheduler")
    },
}
