"""Texts that are legal as token, uid and name, and that naive keys and queries stumble over."""

ODD_TEXTS = (
    *("{", "}", "{}", "}{", "a}b{c", "{a}", "%", "%7D", ":", "a:b", "*", "?", "[a-z]"),
    *("\\", "'", '"', "; DROP TABLE x", "%s", " ", " a ", "a|b", "a,b"),
    *("1", "01", "1.0", "1e3", "None"),
    *("é", "e\u0301", "心跳内容", "\U0001f600", "\u2028", "\ufeff", "\ufffd"),
    *("x" * 255, "é" * 127),
)
