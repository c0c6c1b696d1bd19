"""Passwords and keys: in the words of several languages and programs, hidden whole; and what is no secret."""

from __future__ import annotations

import json
from random import Random

import pytest

from shared.dataset.safety.search import masked_text
from tests.kit.dataset import planted

PW = "Zx9kQmw4tR!"
HARD = "aB3$dE5gH7{}jK9mN1pQ"


@pytest.mark.parametrize("mark", [*",;<{}('(&", "`x", "' "])
def test_no_part_of_a_password_in_quotes_stays(mark: str) -> None:
    value = HARD.replace("{}", mark)
    assert masked_text(f'login("bob", password="{value}", port=1)') == 'login("bob", password="[secret]", port=1)'
    for text in (f'password: "{value}" and', json.dumps({"password": value, "n": 1})):
        (told, _) = json.loads(masked_text(planted.row(text, "Yes.").decode()))["messages"]
        assert told["content"] == text.replace(value, "[secret]")


@pytest.mark.parametrize("mark", list(",;<{}(!'"))
def test_nor_of_one_without(mark: str) -> None:
    assert masked_text(f"password: {HARD.replace('{}', mark)} it is") == "password: [secret] it is"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *((f"password: {PW}{end}", f"password: [secret]{end}") for end in ("", ".", ",", ";")),
        *((f"password is Zx9kQmw4tR{end}", "password is [secret]") for end in "!?*|_"),
        (f"(password: {PW})", "(password: [secret])"),
        (f"**password**: {PW}", "**password**: [secret]"),
        (f"**Password:** {PW}", "**Password:** [secret]"),
        (f"<password>{PW}</password>", "<password>[secret]</password>"),
        (f"Server=x;Password={PW};Encrypt=True;", "Server=x;Password=[secret];Encrypt=True;"),
        (f"connect --password {PW} --host db", "connect --password [secret] --host db"),
        (f"password1={PW}", "password1=[secret]"),
        (f"pass: {PW}", "pass: [secret]"),
        (f"export PASS={PW}", "export PASS=[secret]"),
        (f'passwords = ["{PW}", "{PW}x"]', 'passwords = ["[secret]", "[secret]"]'),
        (f"Passwords: {PW}, {PW}x", "Passwords: [secret], [secret]"),
        (f'{{"password": {{"value": "{PW}"}}}}', '{"password": {"value": "[secret]"}}'),
        (f"CREATE USER bob IDENTIFIED BY '{PW}';", "CREATE USER bob IDENTIFIED BY '[secret]';"),
        (f"curl -u bob:{PW} https://x.org", "curl -u bob:[secret] https://x.org"),
        (f"sshpass -p '{PW}' ssh root@h", "sshpass -p '[secret]' ssh root@h"),
        (f"La contraseña es {PW}", "La contraseña es [secret]"),
        (f"Mein Passwort lautet {PW}", "Mein Passwort lautet [secret]"),
        (f"Das Passwort ist {PW}", "Das Passwort ist [secret]"),
        (f"Mon mot de passe est {PW}", "Mon mot de passe est [secret]"),
        (f"mot de passe : {PW}", "mot de passe : [secret]"),
        (f"A senha é {PW}", "A senha é [secret]"),
        (f"Пароль: {PW}", "Пароль: [secret]"),
        (f"密码：{PW}", "密码：[secret]"),
        (f"密码是{PW}", "密码是[secret]"),
        (f"パスワード: {PW}", "パスワード: [secret]"),
        ("mysql://root:aB3$d@E5gH7@db/prod", "mysql://root:[secret]@db/prod"),
    ],
)
def test_the_whole_of_a_password_is_hidden_and_no_more(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert masked_text(shown) == shown
    for ascii_only in (False, True):
        (told, _) = json.loads(masked_text(planted.row(text, "Yes.", ascii_only=ascii_only).decode()))["messages"]
        assert told["content"] == shown


def test_keys_of_azure_are_found_however_they_are_written() -> None:
    chance = Random(9)
    pat = planted.letters(chance, "abcdefghijklmnopqrstuvwxyz234567", 52)
    assert masked_text(f"AZURE_DEVOPS_EXT_PAT={pat}") == "AZURE_DEVOPS_EXT_PAT=[secret]"
    code = planted.letters(chance, planted.URL, 44)
    for end in ("==", "%3D%3D"):
        text = f"https://x.azurewebsites.net/api/f?code={code}"
        assert masked_text(f"{text}{end}&a=1") == f"{text.removesuffix(code)}[secret]&a=1"
    key = "+/" + planted.letters(chance, planted.NUM, 40) + "+/" + planted.letters(chance, planted.NUM, 42) + "=="
    for written in (key.replace("+", "\\u002B"), key.replace("/", "\\/"), key.replace("+", "\\u002b")):
        for text in (f'{{"k":"{written}"}}', json.dumps({"k": f'{{"k":"{written}"}}'})):
            shown = masked_text(text)
            assert key[4:16] not in shown
            assert key[-20:-4] not in shown
            json.loads(shown)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic dXNlcjpwYXNzd29yZA==",
        "ftp://anonymous:guest@ftp.x.org, postgresql://user:mysecretpassword@localhost/db, https://user:pa55word@host",
        "mongodb://user:pass123@localhost:27017/db",
        'User(password="Test@1234"), is_valid_password("P@ssw0rd1"), login("bob", password="Secret@123")',
        "auth: OAuth2.0/OpenID1.0Connect",
        'key: "Ctrl+Shift+Alt+F12+Q1W2"',
        "base64 png iVBORw0KGgo/" + "A" * 32 + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3hJ5xyz",
        "password: Welcome123",
        "password = hash_password2(Value1); password: getPassword2Of(User1)",
        "PASS: TestLogin2FA_Case31, pass: TestLogin2FA, compass: N45E22xQ, docker run -u 1000:1000 x",
        '{"password": "Must have 8 to 16 characters, 1 digit!"}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked_text(text) == text
