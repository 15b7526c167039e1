#!/usr/bin/env python3
"""Records llama.cpp's ids for vocabularies that are made here: pre.json and others.json, which the crate's tests read.

    record.py LLAMA_TOKENIZE         (needs the Python package gguf)

pre.json is about every value of tokenizer.ggml.pre that split/names.rs lists. Its vocabulary: the 256 bytes, and merges that were learned from the texts without cutting them, so that every cut
shows in the ids. `merges` are pairs of ids; the n-th makes token 256 + n. others.json has SentencePiece and WordPiece.
"""

import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unicodedata

from gguf import GGUFWriter

TEXTS = [
    "Hello, World! It's 2024's best-isn't it? I'LL we've THEY'RE 'tis  don't\n    def foo(x):  # comment\n\treturn x**2"
    " + 3.14159 - 1_000_000 // 7 != 0xFF && a||b ~c^d `e`$f\nhttp://example.com/a?b=c&d=%20#frag   {\"key\": [1, 22, 333, 4444,"
    " 55555], \"n\": null}\nx1y2z3 foo123bar CamelCaseWord snake_case_word SHOUT iPhone9 <b>bold</b></s> <0x0A>\n\n\n",
    "\u00dcn\u00efc\u00f6d\u00e9 \u00c9COLE \u00e9cole Stra\u00dfe \u03a9\u03bc\u03ad\u03b3\u03b1 \u041f\u0440\u0438\u0432\u0435"
    "\u0442 \u041c\u0418\u0420 \u01c5 \u02b0 a\u0300\u0300 \u0939\u093f\u0928\u094d\u0926\u0940 "
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e44\u0e17\u0e22 \u0e17\u0e35\u0e48",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3053\u3093\u306b\u3061\u306f abc\u4f60\u597d123 \uc548\ub155\ud558\uc138\uc694! "
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u060c \u0661\u0662\u0663 \u30ab\u30bf\u30ab\u30ca\u3001\u6f22\u5b57\u2026\u65e5",
    "emoji \U0001f41d\U0001f41d \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u00bd \u00b2 \u2167 \u2460 "
    "\u20bf\u20ac\u00a3 \u2026\u201cquoted\u201d\u2018x\u2019 \u00ab\u00bb \uff08full\uff09\uff01\uff5e \u2581under",
    "trailing   spaces   \n\ttabs\t\tand\u00a0\u00a0nbsp \u2009thin \u3000 wide\r\nCRLF line\r\n\r\n  x\r \n y\t\t\n\n\n   \n z /\n//\n"
    " !\n\n?\r\n 12345 1234567  12 end  ",
    " ",
    "\n",
    "  \n",
    "it'S  IT'S 'Ll'lL a'b 'r 'R'd\n\n' x'lly 'sab 'Dog I'mmm",
    "aB AB ab aBC abC ABc don'T 1a a1 _a a_ (a) ((a)) a-b a--b a.b. .a ..a",
]
# llama.cpp takes all letters outside ASCII for upper and lower case at once, and marks for no letters, where these
# vocabularies' own expressions do not.
NO_CASE = {"tekken", "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}
# The range of ideographs in these expressions has blanks in it, which llama.cpp replaces by others before.
NO_BLANKS = {"deepseek-llm", "deepseek-coder"}
LONGEST = 12


def learn(texts):
    """Merges of the most frequent neighbours, until no two tokens occur together twice or would be too long."""
    order = random.Random(1)
    rows = [list(t.encode()) for t in texts]
    lengths = {b: 1 for b in range(256)}
    merges = []
    while True:
        counts = {}
        for row in rows:
            for pair in zip(row, row[1:]):
                if lengths[pair[0]] + lengths[pair[1]] <= LONGEST:
                    counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            return merges
        best = max(counts.values())
        pair = order.choice(sorted(p for p, n in counts.items() if n == best))
        token = 256 + len(merges)
        merges.append(pair)
        lengths[token] = lengths[pair[0]] + lengths[pair[1]]
        for at, row in enumerate(rows):
            rows[at] = joined(row, pair, token)


def joined(row, pair, token):
    out, i = [], 0
    while i < len(row):
        if tuple(row[i : i + 2]) == pair:
            out.append(token)
            i += 2
        else:
            out.append(row[i])
            i += 1
    return out


def alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + n) for n, b in enumerate(rest)}}


def write(path, pre, merges):
    tokens = [alphabet()[b] for b in range(256)]
    pairs = []
    seen = {}
    for left, right in merges:
        pairs.append(f"{tokens[left]} {tokens[right]}")
        tokens.append(tokens[left] + tokens[right])
    assert len(set(tokens)) == len(tokens), "two merges make the same token"
    writer = GGUFWriter(path, "gpt2")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(pairs)
    writer.add_add_bos_token(False)
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"):
        writer.add_uint32(f"gpt2.{key}", 1)
    writer.add_float32("gpt2.attention.layer_norm_epsilon", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def distinct(merges):
    """Without those that make the text of a token that there is."""
    texts = [bytes([b]) for b in range(256)]
    ids = list(range(256))
    kept, known = [], {t: i for i, t in enumerate(texts)}
    for left, right in merges:
        text = texts[ids[left]] + texts[ids[right]]
        if text in known:
            ids.append(known[text])
            continue
        known[text] = len(texts)
        ids.append(len(texts))
        texts.append(text)
        kept.append((ids[left], ids[right]))
    return kept


def approximated(name, text):
    """Whether llama.cpp does not do what the vocabulary's own expressions say."""
    far = [c for c in text if ord(c) > 127]
    case = any(unicodedata.category(c) in ("Lu", "Ll", "Lt", "Mn", "Mc", "Me") for c in far)
    return name in NO_CASE and case or name in NO_BLANKS and any(c.isspace() for c in far)


def record_pre(tokenize, folder):
    source = (HERE.parents[1] / "src/split/names.rs").read_text()
    names = re.findall(r'"([^"\s]+)"', " ".join(re.findall(r"Pre::new\(\s*&\[(.*?)\]", source, re.S)))
    merges = distinct(learn(TEXTS))
    groups = {}
    model = f"{folder}/vocab.gguf"
    for name in names:
        write(model, name, merges)
        skipped = [approximated(name, text) for text in TEXTS]
        rows = [None if skip else ids(tokenize, model, text) for text, skip in zip(TEXTS, skipped)]
        groups.setdefault(json.dumps(rows), []).append(name)
    out = [{"pre": names, "ids": json.loads(rows)} for rows, names in groups.items()]
    parts = [compact(merges), json.dumps(TEXTS), ",\n".join(compact(o) for o in out)]
    (HERE / "pre.json").write_text('{"merges": %s,\n"texts": %s,\n"recorded": [\n%s\n]}\n' % tuple(parts))


def ids(tokenize, model, text):
    prompt = pathlib.Path(model).with_suffix(".txt")
    prompt.write_bytes(text.encode())
    command = [tokenize, "-m", model, "--ids", "--no-escape", "--log-disable", "-f", str(prompt)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def pieces(texts):
    """Pieces of the texts of up to 8 characters, over the ends of words, and most single characters."""
    order = random.Random(2)
    joined = [t.replace(" ", "\u2581") for t in texts]
    singles = sorted(set("".join(joined)) | {"\u2581"})
    singles = [c for c in singles if ord(c) < 0x250 or c == "\u2581" or order.random() < 0.5]
    longer = set()
    while len(longer) < 500:
        text = order.choice([t for t in joined if len(t) > 8])
        at = order.randrange(len(text))
        for length in range(2, order.randrange(3, 9)):
            piece = text[at : at + length]
            if len(piece) > 1 and all(c in singles for c in piece):
                longer.add(piece)
    return singles, order.sample(sorted(longer), len(longer))


def sentence():
    singles, longer = pieces(TEXTS)
    tokens = [["<unk>", 2, 0], ["<s>", 3, 0], ["</s>", 3, 0]]
    tokens += [[f"<0x{b:02X}>", 6, 0] for b in range(256)]
    tokens += [[piece, 1, -(at // 3)] for at, piece in enumerate(longer)]
    tokens += [[c, 1, -1000] for c in singles]
    return tokens + [["<tool>", 4, 0], ["<|im_end|>", 3, 0], ["<|endoftext|>", 3, 0], ["<end_of_turn>", 1, 0]]


def word_piece():
    order = random.Random(3)
    words = sorted(set(re.findall(r"\w+", " ".join(TEXTS).lower())))
    parts = set()
    for word in words:
        plain = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
        cut = order.randrange(len(plain) + 1)
        parts |= {"\u2581" + plain[:cut], plain[cut:]}
        parts |= {"\u2581" + plain[:1], *plain[1:]} if order.random() < 0.7 else set()
    parts |= {"\u2581" + c for c in "!,.?'=-+*/()[]{}\uff0c\u3002"}
    tokens = [["[PAD]", 3, 0], ["[UNK]", 3, 0], ["[CLS]", 3, 0], ["[SEP]", 3, 0]]
    return tokens + [[p, 1, 0] for p in sorted(parts - {"", "\u2581"})]


def write_other(path, other):
    writer = GGUFWriter(path, "gpt2")
    writer.add_tokenizer_model(other["model"])
    writer.add_token_list([t[0] for t in other["tokens"]])
    writer.add_token_types([t[1] for t in other["tokens"]])
    writer.add_token_scores([float(t[2]) for t in other["tokens"]])
    for key, value in other["flags"].items():
        writer.add_bool(f"tokenizer.ggml.{key}", value)
    for key, value in other["ids"].items():
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", value)
    if "name" in other:
        writer.add_name(other["name"])
    for key in ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"):
        writer.add_uint32(f"gpt2.{key}", 1)
    writer.add_float32("gpt2.attention.layer_norm_epsilon", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


SPECIAL_TEXTS = [
    "a<s>b </s> c<tool>  d <|im_end|>\n<|im_end|> e<end_of_turn>",
    "<tool><tool>x",
    "\u2581\u2581x \u2581",
    "<0x41> <unk>",
]


def record_others(tokenize, folder):
    named = {"unknown": 0, "bos": 1, "eos": 2}
    others = [
        {"model": "llama", "flags": {}, "ids": named},
        {"model": "llama", "flags": {"add_space_prefix": False, "add_eos_token": True}, "ids": named},
        {"model": "llama", "flags": {"add_bos_token": False}, "ids": named, "name": "Phi-3 mini"},
        {"model": "bert", "flags": {}, "ids": {"unknown": 1, "bos": 2, "seperator": 3, "padding": 0}},
    ]
    lines = []
    for at, other in enumerate(others):
        other["tokens"] = sentence() if other["model"] == "llama" else word_piece()
        model = f"{folder}/other{at}.gguf"
        write_other(model, other)
        # Of what a character decomposes into, llama.cpp keeps the first only, which for Hangul is not all.
        plain = [t for t in TEXTS if not any("HANGUL" in unicodedata.name(c, "") for c in t)]
        texts = TEXTS + SPECIAL_TEXTS if other["model"] == "llama" else plain
        other["recorded"] = [[text, ids(tokenize, model, text)] for text in texts]
        lines.append(compact(other))
    (HERE / "others.json").write_text("[\n%s\n]\n" % ",\n".join(lines))


HERE = pathlib.Path(__file__).resolve().parent
with tempfile.TemporaryDirectory() as temporary:
    record_pre(sys.argv[1], temporary)
    record_others(sys.argv[1], temporary)
