"""Lines that tell tokenizers apart."""

from __future__ import annotations

from typing import Final

from tokenizers import Tokenizer

__all__ = ["corpus"]

_LINES: Final = (
    "",
    " ",
    "\n\t ",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "THE QUICK BROWN FOX; the Quick bRoWn fOx",
    "  two spaces before,  two between,   three between, two after  ",
    "tab\tnewline\nreturn\r\nform\fvertical\v end",
    "no\u00a0break, thin\u2009space, ideographic\u3000space, zero\u200bwidth, joiner\u200d, soft\u00adhyphen",
    "don't can't won't I'm you're they've she'd he'll it's rock'n'roll 'quoted' \"double\"",
    "\u2018curly\u2019 \u201cquotes\u201d \u2013 dash \u2014 long dash \u2026 ellipsis `` backticks ''",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00dcbergr\u00f6\u00dfe",
    "stra\u00dfe \u00c5ngstr\u00f6m se\u00f1or gar\u00e7on",
    "\u00c9COLE \u00c0 \u00c7A O\u00d9 \u0130stanbul \u0131\u015f\u0131k \u1e9e \u00c6ther \u0152uvre",
    "cafe\u0301 a\u0308 n\u0303 o\u0302\u0323 e\u0301\u0327 Z\u0351\u036b\u0343\u036a",
    "\ufb01ne \ufb03ce \uff21\uff22\uff23 \uff41\uff42 \uff11\uff12\uff13 \u2460",
    "\u2167 \u00bd x\u00b2 H\u2082O \u212b \u2126",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u8fd9\u662f\u4e00\u4e2a\u6d4b\u8bd5\uff01",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3068\u30ab\u30bf\u30ab\u30ca \uff76\uff85",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "mixed \u4e2dABC\u6587 word\u5b57word",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0401\u0436\u0438\u043a \u0419\u043e\u0434 \u0439",
    "\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1",
    "\u03ba\u03cc\u03c3\u03bc\u03b5 \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0645\u064e\u0631\u0652",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "\U0001f600 \U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1eb\U0001f1f7 \u2764\ufe0f \u2603 ok\U0001f680go",
    "\U0001d4d7\U0001d4ee\U0001d4f5\U0001d4f5\U0001d4f8 \U00020bb7 \ufffd \ufeffmark \u0007bell \x00null \x7f \ue000",
    "0 1 12 123 1234 12345 1,234.50 -3.14 +7 1e-5 0xFF 3/4 50% $9.99 \u20ac5 \u00a310",
    "2024-02-29 23:59:59 +49 (0)30 123-456 #1 No.7 v1.2.3 192.168.0.1 \u0661\u0662\u0663",
    "def f(x): return {'a': [1, 2], \"b\": x**2} if x != 0 else None  # comment",
    '<div class="x">&amp;&lt;br/&gt;</div> <!-- note --> SELECT * FROM t WHERE a>=1;',
    "if (a && b || !c) { x += y++ % 2; } // \\n \\t \\\\ C:\\path\\file",
    "https://www.example.org/a/b?c=d&e=f%20g#h http://x.y/~z user.name+tag@mail.example.com @handle #hash_tag",
    "snake_case camelCase PascalCase kebab-case SCREAMING_CASE dotted.name a/b a\\b",
    "well-known state-of-the-art e.g. i.e. U.S.A. Mr. O'Neil\u2019s co-op re\u2010use",
    "!!! ??? ... ,,, ;;; ::: --- ___ *** ((())) [[]] {{}} ~~ ^^ || // \\\\ @@ ## $$ %% && ++ == <<>>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis qzxjvk",
    "word,word.word;word:word!word?word(word)word[word]",
    " leading",
    "trailing ",
    "\u2581underscore \u2581\u2581 \u0120letter \u010aletter ##piece </w> @@",
    "<0x0A> <0xFF> <unk> <s> </s> <pad> <mask> [CLS] [SEP] [UNK] [PAD] [MASK] <|endoftext|> <|im_end|> <extra_id_0>",
    "<S> </S> [cls] [Sep] <s>glued</s> [MASK]glued ~[SEP]~ <mask>. < s > [ SEP ]",
    "I loved this film: the plot was poor, but every scene had heart, and the ending was worth the wait!",
    "Terrible service. Waited 45 minutes, the food was cold, and nobody said sorry. Never again.",
    "How do I reset my password? I've tried 3x already & the link doesn't work :(",
    "Der schnelle braune Fuchs springt \u00fcber den faulen Hund, w\u00e4hrend \u00c4rger \u00d6l verbrennt.",
    "El zorro marr\u00f3n salta sobre el perro perezoso. \u00bfQu\u00e9 tal? \u00a1Hola, ni\u00f1o!",
)
_VOCABULARY_TOKENS: Final = 4_000
_TOKENS_A_LINE: Final = 20
# How byte-level, SentencePiece and WordPiece vocabularies write a token's place in a word.
_MARKS: Final = (("\u0120", " "), ("\u2581", " "), ("##", ""), ("</w>", " "))


def corpus(tokenizer: Tokenizer) -> list[str]:
    """Written lines of many kinds, and lines made of the added and other tokens of `tokenizer`, always the same."""
    added = [str(token.content) for token in tokenizer.get_added_tokens_decoder().values()]
    around = [line for token in added[:50] for line in (token, f"before {token} after", f"a{token}b{token.swapcase()}")]
    return list(dict.fromkeys((*_LINES, *around, *_vocabulary_lines(tokenizer))))


def _vocabulary_lines(tokenizer: Tokenizer) -> list[str]:
    """Up to 4,000 tokens of the vocabulary, at equal distances, as words in lines of twenty."""
    tokens = sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    words = [_plain(token) for token, _ in tokens[:: max(1, len(tokens) // _VOCABULARY_TOKENS)]]
    return [" ".join(words[start : start + _TOKENS_A_LINE]) for start in range(0, len(words), _TOKENS_A_LINE)]


def _plain(token: str) -> str:
    for mark, text in _MARKS:
        token = token.replace(mark, text)
    return token
