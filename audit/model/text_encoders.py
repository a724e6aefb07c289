"""Text encoders of a pipeline and their tokenizers: what they read of a prompt, and their token embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flashbulb.hooks import TokenClass, token_classes
from flashbulb.hooks.embeddings import input_embeddings, read_tokens, substitute_embeddings

_CAUSAL = frozenset({"CLIPTextModel", "CLIPTextModelWithProjection"})


class Tokens(NamedTuple):
    """Tokens of texts, as the text encoders read them.

    Args:
        by_encoder: what a tokenizer returns, [text, position] each, by text encoder.
        n_positions: positions of each text up to its end, of the text encoder that has most: [text].
    """

    texts: tuple[str, ...]
    by_encoder: Mapping[str, Any]
    n_positions: Tensor

    def longest_first(self) -> list[int]:
        """Return the indices of the texts, the longest first."""
        order: list[int] = self.n_positions.argsort(descending=True, stable=True).tolist()
        return order

    def rows(self, chosen: Sequence[int]) -> Tokens:
        """Select texts, without the positions behind the end of the longest of them."""
        index = torch.tensor(chosen)
        n_positions = self.n_positions[index]
        until = int(n_positions.max())
        by_encoder = {
            name: type(tokens)({key: ids[index, :until] for key, ids in tokens.items()})
            for name, tokens in self.by_encoder.items()
        }
        return Tokens(tuple(self.texts[i] for i in chosen), by_encoder, n_positions)


class TextEncoders:
    """The text encoders that a pipeline has.

    Args:
        tokenizer_of: name of the tokenizer for each name of a text encoder.
    """

    def __init__(self, pipe: Any, tokenizer_of: Mapping[str, str]) -> None:
        self._pipe = pipe
        names = [name for name in tokenizer_of if getattr(pipe, name, None) is not None]
        self.modules: dict[str, Any] = {name: getattr(pipe, name) for name in names}
        self._tokenizers: dict[str, Any] = {name: getattr(pipe, tokenizer_of[name]) for name in names}
        self._attribute_of = {name: tokenizer_of[name] for name in names}

    @property
    def main(self) -> str:
        """Name of the first text encoder, whose positions are those of cross-attention."""
        return next(iter(self.modules))

    @property
    def _main_tokenizer(self) -> Any:
        return self._tokenizers[self.main]

    def reading(self) -> AbstractContextManager[dict[str, list[Tensor]]]:
        """Collect the tokens that every text encoder receives while the context is open."""
        return read_tokens(self.modules)

    @property
    def are_causal(self) -> bool:
        """Whether no position of a prompt depends on later ones, by the classes of all text encoders."""
        return all(type(module).__name__ in _CAUSAL for module in self.modules.values())

    def tokenizing_once(self) -> AbstractContextManager[None]:
        """Let the pipeline tokenize each prompt once while the context is open; diffusers 0.42 does it three times.

        It looks for tokens of several vectors in one prompt after the other, also where no tokenizer has such. And it
        tokenizes without limit, to warn of what is cut, which `are_truncated` finds.
        """
        return self._tokenizing_by({name: _Once(tokenizer) for name, tokenizer in self._tokenizers.items()})

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Tokenize texts as the pipelines of CLIP encoders do, padded to the length of each tokenizer."""
        by_encoder = {name: self._padded(texts, tokenizer) for name, tokenizer in self._tokenizers.items()}
        classes = self.classes({name: tokens["input_ids"] for name, tokens in by_encoder.items()})
        n_positions = [_last_word(codes) + 1 for codes in classes.values()]
        return Tokens(tuple(texts), by_encoder, torch.stack(n_positions).amax(dim=0))

    def _padded(self, texts: Sequence[str], tokenizer: Any) -> Any:
        limit, texts = tokenizer.model_max_length, self._converted(texts, tokenizer)
        tokens = tokenizer(texts, padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
        return type(tokens)(dict(tokens))  # what fast tokenizers keep beside these takes 7 KB a text

    def tokenizing_as(self, tokens: Tokens) -> AbstractContextManager[None]:
        """Let the pipeline read these tokens, whatever it is given, while the context is open."""
        return self._tokenizing_by(
            {name: _Once(self._tokenizers[name], given) for name, given in tokens.by_encoder.items()}
        )

    @contextmanager
    def _tokenizing_by(self, tokenizers: Mapping[str, _Once]) -> Iterator[None]:
        """Replace the tokenizer of each text encoder while the context is open."""
        replaced: dict[str, Any] = {self._attribute_of[name]: once for name, once in tokenizers.items()}
        if hasattr(self._pipe, "maybe_convert_prompt") and not any(
            map(_has_several_vectors, self._tokenizers.values())
        ):
            replaced["maybe_convert_prompt"] = lambda prompt, _tokenizer: prompt
        own = vars(self._pipe)
        before = {name: own[name] for name in replaced.keys() & own.keys()}
        own.update(replaced)
        try:
            yield
        finally:
            for name in replaced:
                del own[name]
            own.update(before)

    def substituted(self, embeddings: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Feed text encoders `embeddings` [prompt, position, width] in place of their tokens."""
        return substitute_embeddings(self.modules, embeddings)

    @torch.no_grad()
    def embed(self, input_ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each token's vector, without its position: [prompt, position, width] by text encoder."""
        return {name: self._input_embedding(name)(ids) for name, ids in input_ids.items()}

    def _input_embedding(self, name: str) -> nn.Module:
        return input_embeddings(self.modules[name])[0]

    def classes(self, input_ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Classify every token: [prompt, position] by text encoder, see `flashbulb.hooks.TokenClass`."""
        return {name: self._classes(self._tokenizers[name], ids) for name, ids in input_ids.items()}

    @staticmethod
    def _classes(tokenizer: Any, input_ids: Tensor) -> Tensor:
        end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        start = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        return token_classes(input_ids, end, start, tokenizer.pad_token_id)

    def are_truncated(self, texts: Sequence[str], n_positions: Mapping[str, int]) -> tuple[bool, ...]:
        """Return for each prompt whether its last words reach no text encoder.

        Args:
            n_positions: tokens that each text encoder reads.
        """
        if not texts:
            return ()
        is_cut = [True] * len(texts)
        for name, tokenizer in self._tokenizers.items():
            lengths = [len(ids) for ids in tokenizer(self._converted(texts, tokenizer)).input_ids]
            is_cut = [cut and length > n_positions[name] for cut, length in zip(is_cut, lengths, strict=True)]
        return tuple(is_cut)

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Return the share of the texts' tokens that a tokenizer does not know, of the worst tokenizer."""
        shares = [0.0]
        for tokenizer in self._tokenizers.values():
            converted = self._converted(texts, tokenizer)
            ids = [i for row in tokenizer(converted, add_special_tokens=False).input_ids for i in row] if texts else []
            if ids and tokenizer.unk_token_id is not None:
                shares.append(ids.count(tokenizer.unk_token_id) / len(ids))
        return max(shares)

    def names_special_token(self, text: str) -> bool:
        """Return whether a token such as `<|endoftext|>` is written out in a prompt."""
        return any(token in text for tokenizer in self._tokenizers.values() for token in tokenizer.all_special_tokens)

    def _converted(self, texts: Sequence[str], tokenizer: Any) -> list[str]:
        """Write out the tokens of a textual inversion of several vectors, as the pipeline does."""
        convert = getattr(self._pipe, "maybe_convert_prompt", None)
        if convert is None or not _has_several_vectors(tokenizer):  # it tokenizes each text to look for such tokens
            return list(texts)
        return [str(convert(text, tokenizer)) for text in texts]

    def vocabulary(self) -> list[str]:
        """Return the tokens of the first text encoder, by id."""
        return sorted(self._main_tokenizer.get_vocab(), key=self._main_tokenizer.get_vocab().__getitem__)

    def typed_tokens(self) -> list[int]:
        """Return the tokens of the first text encoder that are letters or digits alone, by id."""
        tokenizer = self._main_tokenizer
        ids = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
        texts = tokenizer.batch_decode([[i] for i in ids])
        return [i for i, text in zip(ids, texts, strict=True) if text.strip().isalnum()]

    def tokens_of(self, text: str) -> list[int]:
        """Return the tokens that the first text encoder reads of a text, without special ones."""
        ids: list[int] = self._main_tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens of the first text encoder; read again, it can have others."""
        return str(self._main_tokenizer.decode(list(tokens))).strip()

    def vectors(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return the vectors of tokens [token], by each text encoder that has so many: [token, width] each."""
        names = [name for name, tokenizer in self._tokenizers.items() if int(tokens.max()) < len(tokenizer)]
        return self.embed(dict.fromkeys(names, tokens))

    @property
    def tokenizer_class(self) -> str:
        """Class of the first text encoder's tokenizer."""
        return type(self._main_tokenizer).__name__

    def token_names(self, input_ids: Mapping[str, Tensor]) -> list[str]:
        """Return the tokens of the first row of the first text encoder's `input_ids`."""
        first = next(iter(input_ids.values()))[0]
        names: list[str] = self._main_tokenizer.convert_ids_to_tokens(first.tolist())
        return names


def _last_word(classes: Tensor) -> Tensor:
    """Return the last position of each prompt that is no padding: [prompt, position] -> [prompt]."""
    return ((classes != TokenClass.PADDING) * torch.arange(classes.shape[1])).amax(dim=1)


def _has_several_vectors(tokenizer: Any) -> bool:
    """Return whether a textual inversion of several vectors was loaded, which diffusers names by number."""
    added = tokenizer.added_tokens_encoder
    return any(f"{token}_1" in added for token in added)


class _Once:
    """A tokenizer that answers with the tokens of its last call where it is asked for them without a limit.

    Args:
        given: tokens with which it always answers.
    """

    def __init__(self, tokenizer: Any, given: Any = None) -> None:
        self._tokenizer, self._given, self._last = tokenizer, given, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: Any, *, padding: Any = False, **options: Any) -> Any:
        if self._given is not None:
            return self._given
        if padding != "longest" or self._last is None:
            self._last = self._tokenizer(texts, padding=padding, **options)
        return self._last
