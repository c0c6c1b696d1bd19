"""What belongs to a person: e-mail addresses, telephone, card and account numbers. Rather one missed than many wrong.

A number is judged by what it must be (check digits, lengths, who issues it), and by the words around it: an order's
number is no card. Used by `search`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise

from shared.dataset.safety.text import ESCAPED

# E-mail addresses -----------------------------------------------------------------------------------------------------

_LETTER = rb"(?:[A-Za-z0-9]|[\xc3-\xc9][\x80-\xbf])"
_ABROAD_LETTER = rb"(?:[A-Za-z0-9]|[\xc3-\xdf][\x80-\xbf]|[\xe0-\xed][\x80-\xbf]{2})"  # of any writing
_TOPS = """
рф рус бел укр қаз мкд срб мон бг ею москва дети онлайн сайт орг ком ελ ευ გე հայ ישראל مصر قطر عمان تونس المغرب الجزائر
السعودية امارات الاردن فلسطين سورية عراق ایران پاکستان भारत বাংলা இந்தியா ไทย ලංකා 中国 中國 香港 台湾 台灣 新加坡 澳门 澳門
公司 网络 网址 在线 中文网 商城 集团 我爱你 みんな コム 한국 닷컴 닷넷
"""
_EMAIL = re.compile(
    rb"(?<![A-Za-z0-9._%%+\-/])(?<![\xc3-\xc9][\x80-\xbf])%b(?:%b|[._%%+'\-]){0,63}(?:@|%%40)(?=%b)"
    rb"((?:%b|-){1,63}(?:\.(?:%b|-){1,63}){0,4}\.([A-Za-z]{2,18}))(?![A-Za-z0-9_\-]|\.[A-Za-z])" % ((_LETTER,) * 5)
)
# Of all writings, with one of the ends that there are: "good morning @friend.bye" is written without spaces, too.
_EMAIL_ABROAD = re.compile(
    rb"(?<![A-Za-z0-9._%%+\-/])%b(?:%b|[._%%+\-]){0,63}@(?=%b)((?:%b|-){1,63}(?:\.(?:%b|-){1,63}){0,3}\.(%b))"
    rb"(?![A-Za-z0-9_\-]|[\xc3-\xdf][\x80-\xbf])"
    % ((_ABROAD_LETTER,) * 5 + (b"|".join(map(re.escape, _TOPS.encode().split())),))
)
_NOBODY = re.compile(
    rb"(?i:(?:^|\.)(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost|local|internal|lan|home|corp|localdomain)$)"
)
_NOBODY_LOCAL = re.compile(rb"(?i:^(?:git|hg|svn|no-?reply|do-?not-?reply|mailer-daemon)(?:@|%40))")
# Ends of files, and of code, that are no ends of addresses.
_ENDINGS = """
png jpg jpeg gif svg webp bmp ico pdf js ts jsx tsx mjs css scss html htm json yaml yml toml xml csv tsv txt
rb go java kt cpp hpp php exe dll gz tgz tar jar war whl mp3 mp4 wav lock log cfg conf ini sql
prototype length value get set
"""
_NO_DOMAIN = frozenset(_ENDINGS.encode().split())
_BOTH = frozenset((b"md", b"py", b"sh", b"so", b"zip", b"name"))  # countries or the like, and ends of files or of code
_FILE_OR_CODE = re.compile(
    rb"(?i:(?:^|\.)(?:v?\d[\w\-]*|\w{1,2}|main|index|readme|test\w*|setup|utils?|lib\w*|app|self|this|item|obj|object|user|"
    rb"file|node|event|config|conftest|run|script|install|build|master|latest|head)\.[a-z]+$)"
)


def emails(text: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Start and end of each e-mail address; none of those domains that are kept for examples and for nobody."""
    foreign = () if text.isascii() else _EMAIL_ABROAD.finditer(text, start, end)
    for found in chain(_EMAIL.finditer(text, start, end), foreign):
        domain, top = found[1], found[2].lower()
        if _NOBODY.search(domain) or _NOBODY_LOCAL.search(found[0]) or top in _NO_DOMAIN:
            continue
        if top in _BOTH and _FILE_OR_CODE.search(domain):
            continue
        if (
            text[found.start() - 1 : found.start()] == b":"
            and b"://" in text[max(0, found.start() - 100) : found.start()]
        ):
            continue  # of an address with a password
        yield found.span()


# Card numbers ---------------------------------------------------------------------------------------------------------

_BLANK = rb"(?:[ -]|\xc2\xa0)"  # a no-break space, too
_GROUPED = re.compile(
    rb"(?<![A-Za-z0-9_.\-])(?:(?<![^\d\-]\d{4} )(?<!\D\d{4}\xc2\xa0)|(?=\d{4}-))"
    rb"(?:\d{4}(%b)\d{4}(?:\1\d{4}(?!\d)(?:(?!-)|(?<=-\d{4}))){2,}+|3\d{3}(%b)\d{6}\2\d{4,5}+)"
    rb"(?![A-Za-z0-9_]|\.\d|,\d{3}(?![\d.\- ]))" % (_BLANK, _BLANK)
)
_MORE = re.compile(rb"(?:[ -]|\xc2\xa0)\d{1,3}(?![A-Za-z0-9_/]|[.\-]\d)")
_SOLID = re.compile(rb"(?<![A-Za-z0-9_.\-/#$%@+])\d{13,19}(?![A-Za-z0-9_@%/\-]|\.\d|,\d{3}(?![\d.\- ]))")
_CARD_WORD = re.compile(
    rb"(?i:(?<!\[)card|visa|master|amex|american express|credit|debit|\bcc\b|\bpan\b|payment|pay(?:ing)? with|charge|"
    rb"karte|"
    rb"carte|tarjeta|maestro|discover|diners|\bjcb\b|unionpay)"
)
_OTHER_NUMBER = re.compile(
    rb"(?i:\b(?:orders?|invoice|track\w*|parcel|shipping|shipment|package|ticket|serial|isbn|ean|upc|sku|imei|barcode|"
    rb"ids?|uid|ref|reference|batch|timestamp|time|epoch|pi|hash|seed|random|bytes|population|size|offset|port|case|"
    rb"model|part|version|build|commit|nonce|snowflake|tweet|status|user|account|number of|digits? of|confirmation|"
    rb"transaction|claim|policy|job|run|process|record|row|item|article|product|customer|equals|sum|factor|prime|"
    rb"integer|int|long|bestell\w*|rechnung\w*|sendung\w*|auftrag\w*)\b|(?:_|(?-i:[a-z]))id\b|_no\b|=\s*$)"
)


def _before(text: bytes, start: int, at: int) -> bytes:
    """What a text says shortly before a place; of JSON the place's own key, and no other."""
    about = text[max(start, at - 40) : at]
    if key := _OWN_KEY.search(about):
        return key[1] + b": "
    quote = about.rfind(b'"')
    while quote >= 0 and about[quote - 1 : quote] == ESCAPED:
        quote = about.rfind(b'"', 0, quote)
    if quote >= 0:
        about = about[quote + 1 :]
    ends = [found.end() for found in _SENTENCE.finditer(about)]
    return about[ends[-1] :] if ends else about


_OWN_KEY = re.compile(rb"[\"']([^\"'\x1e]{1,40})\x1e*[\"']\s*:\s*(?:\[[\d,.\s]*)?(?:\x1e*[\"'])?$")
_SENTENCE = re.compile(rb"[?!]\s|\n|[a-z]{4}\.\s")


def cards(text: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Start and end of each card number: its length and first digits are an issuer's, and its check digit is right."""
    for found in _GROUPED.finditer(text, start, end):
        yield from _grouped(text, start, found)
    for found in _SOLID.finditer(text, start, end):
        about = _before(text, start, found.start())
        named = _CARD_WORD.search(about) is not None
        if not _card(found[0], sure=named):
            continue
        if named or not (
            _OTHER_NUMBER.search(about)
            or b"http" in text[max(0, found.start() - 100) : found.start()].rpartition(b" ")[2]
        ):
            yield found.span()


def _grouped(text: bytes, start: int, found: re.Match[bytes]) -> Iterator[tuple[int, int]]:
    """The same of groups of digits: of four groups each; but none of a longer list of numbers."""
    blank, begin, stop = found[1], found.start(), found.end()
    if not blank:
        if _card(_digits(found[0]), sure=True):
            yield found.span()
        return
    groups = found[0].split(blank)
    step = 4 * (4 + len(blank))  # bytes from the first of a card's digits to the next one's
    many = [(at, at + step - len(blank)) for at in range(begin, stop - step + len(blank) + 1, step)]
    sure = [each for each in many if _card(_digits(text[each[0] : each[1]]), sure=True)]
    if len(groups) % 4 == 0 and len(sure) == len(many):
        more = _MORE.match(text, stop)
        if more and len(many) == 1 and _card(_digits(found[0] + more[0]), sure=True):
            yield begin, more.end()
        else:
            yield from sure
    elif len(groups) == 4 and (more := _MORE.match(text, stop)) and _card(_digits(found[0] + more[0]), sure=True):
        yield begin, more.end()
    elif sure and sure[0] == many[0] and _CARD_WORD.search(_before(text, start, begin)):
        yield sure[0]  # the year stands behind it


def _digits(text: bytes) -> bytes:
    return bytes(code for code in text if 48 <= code < 58)


def _card(digits: bytes, *, sure: bool) -> bool:
    """Whether the digits are a card's number. `sure`: by its form or a word it is; else only the usual ones count."""
    return _issued(digits.decode(), sure=sure) and luhn(digits) and len(set(digits)) > 1


def _issued(digits: str, *, sure: bool) -> bool:
    size, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return size == 16 or (sure and size in (13, 19))
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return size == 16
    if two in (34, 37):
        return size == 15
    if four == 6011 or 644 <= three <= 659:
        return size == 16 or (sure and 16 <= size <= 19)
    if 3528 <= four <= 3589 or 2200 <= four <= 2204 or two == 62:
        return size == 16 or (sure and 16 <= size <= 19)
    if 300 <= three <= 305 or three == 309 or two in (36, 38, 39):
        return size == 14 or (sure and 14 <= size <= 19)
    if four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763) or two in (81, 82, 60) or three == 508:
        return sure and 13 <= size <= 19
    return False


def luhn(digits: bytes) -> bool:
    """Whether the last of the digits is the check digit of those before it, as ISO/IEC 7812 has it."""
    total = 0
    for at, code in enumerate(reversed(digits)):
        digit = code - 48
        total += digit if at % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0


# Account numbers ------------------------------------------------------------------------------------------------------

_IBANS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29
ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29
PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
YE30
"""
IBAN_LENGTHS = {each[:2]: int(each[2:]) for each in _IBANS.split()}
"""Country -> letters and digits of an account number there."""
_IBAN = re.compile(rb"(?<![A-Za-z0-9])(?:[A-Z]{2}|[a-z]{2})\d\d(?=(?:[ \-]|\xc2\xa0)?[A-Za-z0-9]{2})")  # how one begins


def ibans(text: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Start and end of each IBAN: as long as its country has it, and its check digits are right."""
    for found in _IBAN.finditer(text, start, end):
        size = IBAN_LENGTHS.get(found[0][:2].decode().upper(), 0)
        at, digits = found.start(), bytearray()
        while size and len(digits) < size and at < end:
            code = text[at]
            if chr(code).isalnum() and code < 128:
                digits.append(code)
            elif code not in b" -\xc2\xa0":  # the last two are a no-break space
                break
            at += 1
        if size and len(digits) == size and not (at < len(text) and text[at : at + 1].isalnum()):
            upper = digits.decode().upper()
            if len(set(upper[4:])) > 1 and int("".join(str(int(each, 36)) for each in upper[4:] + upper[:4])) % 97 == 1:
                yield found.start(), at


# Telephone numbers ----------------------------------------------------------------------------------------------------

_CODES = """
1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84
86  90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236
237  238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265
266  267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378
379  380 381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595
596  597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 850 852
853  855 856 880 886 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 992 993 994 995 996 998
"""
_COUNTRIES = frozenset(_CODES.split())
_SEPARATED = rb"(?:[ \-./]|\xc2\xa0|\xe2\x80\x91)"
_ABROAD = re.compile(
    rb"(?<![A-Za-z0-9_+)\]])(?:(?:\+|\(\+)\d{1,3}\)?|(?<![.,#$\-/])(?!00\d\d(?: \d{4}\b){2})00 ?[1-9]\d{0,2}(?=%b))"
    rb"(?:%b?\(?\d{1,5}+\)?){1,7}(?<=\d)(?![A-Za-z0-9_@%%]|\.\d|,\d{3}(?![\d.\- ])|=)" % (_SEPARATED, _SEPARATED)
)
_FRENCH = rb"0[1-79](?:(?: \d\d){4}|(?:\.\d\d){4})"
_AT_HOME = re.compile(
    rb"(?<![A-Za-z0-9_.#$+\-/=%%])(?:"
    # North America
    rb"\([2-9]\d\d\) ?[2-9]\d\d[\-. ]\d{4}|(?:1[\-. ])?[2-9]\d\d([\-.])[2-9]\d\d\1\d{4}|"
    rb"1[ \-]\([2-9]\d\d\)[ \-][2-9]\d\d-\d{4}|"
    # United Kingdom
    rb"\(?0(?:7\d{3}\)? \d{3} ?\d{3}|20\)? \d{4} \d{4}|1\d{3}\)? \d{6}|1\d1\)? \d{3} \d{4}|11\d\)? \d{3} \d{4}|"
    rb"[38]\d{2}\)? \d{3} \d{4})|"
    # France: one or more, and no part of a list of numbers
    rb"(?<!\D\d\d )(?P<french>%b(?:[ ,;/]{1,2}%b)*+)(?! \d\d)|"
    # Germany, Austria
    rb"\(?0(?:1[567]\d{1,2}|[2-9]\d{1,3})(?:\) ?|/| / | - )\d{3,5}[ \-]?\d{2,5}(?:[ \-]\d{1,4})?|"
    rb"01[567]\d (?:\d{7,8}|\d{3} \d{4,5}|\d{2,4} \d{2,4} \d{2,4})|01[567]\d-\d{7,8}|"
    # The Netherlands
    rb"06[\- ]\d{8}|0[1-57]\d-\d{7}|"
    # Japan, Brazil, Australia; and no month with its year
    rb"0\d-(?!19\d\d|20[0-3]\d)\d{4}-\d{4}|0\d\d-\d{3,4}-\d{4}|0\d{3}-\d\d-\d{4}|"
    rb"\(\d{2}\) ?9?\d{4}-\d{4}|04\d\d \d{3} \d{3}|\(0[2378]\) \d{4} \d{4}"
    rb")(?![A-Za-z0-9_@%%]|[.\-]\d|/\d{1,2}(?!\d)|,\d{3}(?![\d.\- ]))" % (_FRENCH, _FRENCH)
)
_ANY = re.compile(
    rb"(?<![A-Za-z0-9_.,#$+\-/])\(?\d{1,5}\)?(?:%b?\(?\d{1,6}+\)?){1,9}(?<=\d)(?![A-Za-z0-9_@%%]|[.,]\d)" % _SEPARATED
)
_ABROAD_WORDS = b"|".join(
    map(re.escape, "手机 手機 电话 電話 联系方式 携帯 전화 휴대폰 телефон Телефон тел. Тел.".encode().split())
)
_PHONE_WORD = re.compile(
    rb"(?i:(?:(?<![A-Za-z\[])(?:phone|tel|telephone|mobile|mob|cell|cellphone|fax|whatsapp|hotline|telefon|handy|"
    rb"rufnummer|t\xc3\xa9l(?:\xc3\xa9phone)?|tel\xc3\xa9fono|celular|m\xc3\xb3vil|call me|call us|text me|reach me|"
    rb"ring me)|(?<=[a-z]{2})(?-i:Phone|Mobile|Telephone))"
    rb"(?:[ _]?(?:no|nr|number|num|nummer))?(?![A-Za-z0-9])[^\d\n\]]{0,14}$|"
    rb"\b(?:my|his|her|their|our) number(?:\s(?:is|was)|'s|:)[^\d\n\]]{0,6}$|\bcontact: ?$|(?:%b)[^\d\n\]]{0,14}$)"
    % _ABROAD_WORDS
)
_NEXT = re.compile(rb"(?:[\s,;/&|]|\band\b|\bor\b|\bund\b|\boder\b|\bet\b|\bou\b|\by\b|\bo\b){1,8}")


def phones(text: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Start and end of each telephone number: with its country's code, or as its country writes it, or named one."""
    at = start
    while found := _ABROAD.search(text, at, end):
        at = found.end()
        for stop in _ends(text, found):
            if _reaches(text[found.start() : stop]):
                yield found.start(), stop
                at = stop
                break
    for found in _AT_HOME.finditer(text, start, end):
        about = _before(text, start, found.start())
        named = _PHONE_WORD.search(about)
        if found["french"] and not named and _rises(found["french"]):
            continue
        if not _OTHER_NUMBER.search(about) or named or found[0][:1] == b"(":
            yield found.span()
    last = -1  # the end of the last number that was named one: the next in a list is another
    for found in _ANY.finditer(text, start, end):
        count = len(_digits(found[0]))
        if not 7 <= count <= (30 if len(found[0]) > count else 15):  # two of them have only a space between
            continue
        if _PHONE_WORD.search(_before(text, start, found.start())) or (
            0 <= found.start() - last <= 16 and last >= 0 and _NEXT.fullmatch(text, last, found.start())
        ):
            last = found.end()
            yield found.span()


def _ends(text: bytes, found: re.Match[bytes]) -> Iterator[int]:
    """Where a number may end: with its last group of digits, or one before it, which is followed by another number."""
    yield found.end()
    for each in reversed(list(_GROUP_END.finditer(text, found.start(), found.end()))):
        yield each.start()


_GROUP_END = re.compile(rb"(?<=\d) ")


def _rises(number: bytes) -> bool:
    """Whether each group of digits is more than the one before it: rather numbers that were drawn, or counted."""
    groups = re.findall(rb"\d\d", number)
    return all(one < two for one, two in pairwise(groups))


def _reaches(number: bytes) -> bool:
    """Whether a number with a plus can be called: the country is one, and it has as many digits as numbers there."""
    digits = _digits(number).decode()
    if number[:2] == b"00":
        digits = digits[2:]
        if len(digits) < 9 or re.findall(rb"[1-9]\d*", number)[0].decode() not in _COUNTRIES:
            return False
    if not 8 <= len(digits) <= 15 or len(set(digits[2:])) < 3:
        return False
    if digits[0] == "1":
        return len(digits) == 11 and digits[1] >= "2" and digits[4] >= "2"
    if digits[0] == "7":
        return len(digits) == 11
    groups = re.findall(rb"\d+", number)
    if len(digits) == 8 and len(groups) == 4:
        return False  # +20 30 40 50
    if len(groups) > 2 and all(len(group) == 3 for group in groups[1:]) and len(groups[0]) == 1:
        return False  # +5 000 000: a sum
    return any(digits[:size] in _COUNTRIES for size in (2, 3)) and not digits.endswith("00000")
