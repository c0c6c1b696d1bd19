"""Storage through the proxy, with the real SDKs: whole, streamed, stamped with local time, and heard by Event Grid."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    generate_blob_sas,
)
from azure.storage.queue import QueueServiceClient

from localcloud import pki
from localcloud.clock import LocalClock
from localcloud.environment import ACCOUNT
from localcloud.identity import Identity
from localcloud.stack import Stack, StackError
from localcloud.storage_proxy import Exchange, StorageProxy, operation
from tests.kit.waiting import eventually

MIB = 1 << 20


@pytest.fixture
def service(cloud_env: Stack) -> Iterator[BlobServiceClient]:
    with (
        DefaultAzureCredential() as credential,
        BlobServiceClient(cloud_env.urls["blob"], credential=credential) as client,
    ):
        yield client


@pytest.fixture
def container(service: BlobServiceClient) -> ContainerClient:
    return service.create_container(f"test-{uuid.uuid4()}")


@pytest.fixture
def blob(container: ContainerClient) -> BlobClient:
    return container.get_blob_client("folder/a name+with %25 & ümlaut.jsonl")


def events_of(cloud: Stack, blob: BlobClient) -> list[dict[str, Any]]:
    subject = f"/blobServices/default/containers/{blob.container_name}/blobs/{blob.blob_name}"
    recent = cloud.control("GET", "/_local/eventgrid")["events"]
    return [entry["event"] for entry in recent if entry["event"].get("subject") == subject]


def test_a_put_blob_is_an_event_with_the_facts_of_the_blob(cloud: Stack, blob: BlobClient) -> None:
    answer = blob.upload_blob(b"12345", content_settings=ContentSettings(content_type="application/jsonl"))
    [event] = eventually(lambda: events_of(cloud, blob))
    data = event["data"]
    assert event["eventType"] == "Microsoft.Storage.BlobCreated"
    assert event["topic"].endswith(f"/Microsoft.Storage/storageAccounts/{ACCOUNT}")
    assert (data["api"], data["contentLength"], data["blobType"]) == ("PutBlob", 5, "BlockBlob")
    assert data["contentType"] == "application/jsonl"
    assert data["eTag"] == answer["etag"].strip('"')
    assert data["requestId"] == answer["request_id"]
    assert data["clientRequestId"] == answer["client_request_id"]
    with BlobClient.from_blob_url(data["url"], credential=blob.credential) as by_url:
        assert by_url.download_blob().readall() == b"12345"


def test_blocks_are_an_event_once_they_are_committed(cloud: Stack, blob: BlobClient) -> None:
    blob.stage_block("MQ==", b"abc")
    blob.stage_block("Mg==", b"defg")
    blob.commit_block_list([BlobBlock("MQ=="), BlobBlock("Mg==")])
    [event] = eventually(lambda: events_of(cloud, blob))
    assert (event["data"]["api"], event["data"]["contentLength"]) == ("PutBlockList", 7)


def test_a_copy_is_an_event(cloud: Stack, blob: BlobClient, container: ContainerClient) -> None:
    blob.upload_blob(b"abc")
    copy = container.get_blob_client("copy.jsonl")
    copy.start_copy_from_url(blob.url)
    [event] = eventually(lambda: events_of(cloud, copy))
    assert (event["data"]["api"], event["data"]["contentLength"]) == ("CopyBlob", 3)
    assert copy.download_blob().readall() == b"abc"


def test_what_makes_no_blob_whole_is_no_event(cloud: Stack, blob: BlobClient) -> None:
    blob.upload_blob(b"abc")
    with pytest.raises(ResourceExistsError):
        blob.upload_blob(b"def")
    with pytest.raises(ResourceModifiedError):
        blob.upload_blob(b"def", overwrite=True, etag="0x1", match_condition=MatchConditions.IfNotModified)
    blob.set_blob_metadata({"a": "b"})
    blob.set_blob_tags({"a": "b"})
    blob.acquire_lease(15).release()
    blob.upload_blob(b"last", overwrite=True)
    eventually(lambda: len(events_of(cloud, blob)) >= 2)
    assert [event["data"]["contentLength"] for event in events_of(cloud, blob)] == [3, 4]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/droptune/c/b", {}, "PutBlob"),
        ("/droptune/c/b", {"comp": ["block"], "blockid": ["MQ=="]}, None),
        ("/droptune/c/b", {"comp": ["lease"]}, None),
        ("/droptune/c", {"restype": ["container"]}, None),
        ("/droptune/c/b", {"timeout": ["30"]}, "PutBlob"),
        ("/droptune/c/b", {"comp": ["blocklist"]}, "PutBlockList"),
    ],
)
def test_operations(path: str, query: dict[str, list[str]], expected: str | None) -> None:
    assert operation(Exchange(method="PUT", path=path, query=query, request={}, answer={})) == expected


def test_an_empty_blob_and_one_that_is_not_there(blob: BlobClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        blob.download_blob()
    assert not blob.exists()
    blob.upload_blob(b"")
    assert blob.download_blob().readall() == b""
    assert blob.get_blob_properties().size == 0


def test_conditions_hold(blob: BlobClient) -> None:
    first = blob.upload_blob(b"one")
    blob.upload_blob(b"two", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError):
        blob.upload_blob(b"three", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified)
    assert blob.download_blob().readall() == b"two"


def test_the_accounts_key_and_signatures_work_too(cloud: Stack, cloud_env: Stack, blob: BlobClient) -> None:
    key = cloud.description.key
    with BlobServiceClient(cloud.urls["blob"], credential={"account_name": ACCOUNT, "account_key": key}) as by_key:
        by_key.get_blob_client(blob.container_name, blob.blob_name).upload_blob(b"signed")
    sas = generate_blob_sas(
        ACCOUNT,
        blob.container_name,
        blob.blob_name,
        account_key=key,
        permission=BlobSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    with BlobClient.from_blob_url(f"{blob.url}?{sas}") as by_signature:
        assert by_signature.download_blob().readall() == b"signed"


def test_memory_does_not_grow_with_a_body(cloud: Stack, blob: BlobClient) -> None:
    [server] = psutil.Process(cloud.description.processes["server"].pid).children()
    blob.upload_blob(b"x" * 1024, max_concurrency=1)
    before = server.memory_info().rss
    piece = bytes(range(256)) * 4 * 1024
    expected, found = hashlib.sha256(piece * 48).digest(), hashlib.sha256()
    blob.upload_blob(piece * 48, overwrite=True)  # one PUT: up to 64 MiB the SDK cuts nothing
    blob.upload_blob(iter([piece] * 48), overwrite=True)  # blocks of 4 MiB
    for part in blob.download_blob().chunks():
        found.update(part)
    assert found.digest() == expected
    assert server.memory_info().rss - before < 16 * MIB


def test_many_at_once(container: ContainerClient) -> None:
    def there_and_back(number: int) -> bytes:
        blob = container.get_blob_client(f"{number}.bin")
        blob.upload_blob(str(number).encode() * 10_000)
        return bytes(blob.download_blob().readall())

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(there_and_back, range(64)))
    assert found == [str(number).encode() * 10_000 for number in range(64)]
    assert len(list(container.list_blobs())) == 64


def test_queues_pass_through(cloud_env: Stack) -> None:
    with (
        DefaultAzureCredential() as credential,
        QueueServiceClient(cloud_env.urls["queue"], credential=credential) as service,
        service.create_queue(f"test-{uuid.uuid4()}") as queue,
    ):
        queue.send_message("hello")
        [message] = queue.receive_messages(visibility_timeout=1)
        queue.update_message(message, visibility_timeout=0)
        [again] = queue.receive_messages()
        assert (again.content, again.dequeue_count) == ("hello", 2)
        names = {properties.name for properties in service.list_queues()}
    assert {"dataset-events", "dataset-events-poison", "run-steps", "job-events", "prepare"} <= names


def test_the_containers_are_there(service: BlobServiceClient) -> None:
    names = {properties.name for properties in service.list_containers()}
    assert {"datasets", "prepared", "state", "deadletter", "azure-webjobs-hosts", "azureml-blobstore"} <= names


def token(cloud: Stack) -> dict[str, str]:
    description = cloud.description
    identity = Identity(secret=description.identity_secret, header="", resource_id="")
    return {"authorization": f"Bearer {identity.token('https://storage.azure.com')[0]}", "x-ms-version": "2021-12-02"}


def test_every_answer_has_the_local_clocks_date(cloud: Stack) -> None:
    """That it isn't real time shows in test_stack.py, whose cloud is nobody else's."""
    trust = ssl.create_default_context(cafile=str(cloud.description.ca))
    paths = {"blob": "datasets?restype=container", "queue": "prepare?comp=metadata", "table": "Tables"}
    with httpx.Client(verify=trust, trust_env=False) as client:
        for service, path in paths.items():
            url, headers = f"{cloud.urls[service]}/{path}", token(cloud) | {"accept": "application/json"}
            answer = client.get(url, headers=headers)
            assert answer.status_code == 200
            local = datetime.fromisoformat(cloud.control("GET", "/_local/clock")["now"])
            assert abs(parsedate_to_datetime(answer.headers["date"]) - local) < timedelta(seconds=10)


def test_a_body_that_waits_for_100_continue_passes(cloud: Stack, blob: BlobClient) -> None:
    """As AzCopy and other SDKs send large bodies."""
    trust = ssl.create_default_context(cafile=str(cloud.description.ca))
    path = blob.url.partition(f":{cloud.description.ports['blob']}")[2]
    fields = token(cloud) | {"host": "localhost", "x-ms-blob-type": "BlockBlob", "expect": "100-continue"}
    with (
        socket.create_connection(("127.0.0.1", cloud.description.ports["blob"]), timeout=30) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as wire,
        wire.makefile("rb") as answers,
    ):
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        wire.sendall(f"PUT {path} HTTP/1.1\r\n{head}content-length: 5\r\n\r\n".encode())
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.readline() == b"\r\n"
        wire.sendall(b"12345")
        assert answers.readline() == b"HTTP/1.1 201 Created\r\n"
    assert blob.download_blob().readall() == b"12345"


def test_a_client_that_dies_in_mid_upload_leaves_nothing_hanging(tmp_path: Path) -> None:
    """The other side waits for the rest of the body and answers nothing, as Azurite does."""
    pki.ensure(tmp_path)
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    client_tls = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    async def scenario() -> bytes:
        begun, ended = asyncio.Event(), asyncio.Event()
        received = b""

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal received
            received = await reader.readuntil(b"only this")
            begun.set()
            await reader.read()
            ended.set()
            writer.close()

        upstream = await asyncio.start_server(silent, "127.0.0.1", 0, ssl=server_tls)
        port = upstream.sockets[0].getsockname()[1]
        proxy = StorageProxy(upstream=port, clock=LocalClock(), server_tls=server_tls, client_tls=client_tls)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            own = probe.getsockname()[1]
        await proxy.start(own)
        async with upstream:
            try:
                async with asyncio.timeout(10):
                    _, client = await asyncio.open_connection("localhost", own, ssl=client_tls)
                    client.write(b"PUT /droptune/c/b HTTP/1.1\r\ncontent-length: 1000\r\n\r\nonly this")
                    await begun.wait()
                    client.transport.abort()
                    await ended.wait()
            finally:
                await proxy.close()
        return received

    assert asyncio.run(scenario()).startswith(b"PUT /droptune/c/b ")


def test_a_blob_keeps_the_local_time_of_its_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jump must not make what was there before look new: the app compares these times with the Date header."""
    stack = Stack(tmp_path / "state")
    stack.start(host=False)
    try:
        for name, value in stack.environment.items():
            monkeypatch.setenv(name, value)
        with (
            DefaultAzureCredential() as credential,
            BlobServiceClient(stack.urls["blob"], credential=credential) as service,
        ):
            container = service.get_container_client("datasets")
            for number in range(20):  # some are written in one real second, which is all that Azurite tells of them
                container.upload_blob(f"{number:02}", b"")
                stack.control("POST", "/_local/clock", {"advance": 3600})
            listed = {blob.name: blob.last_modified for blob in container.list_blobs()}
            asked = {name: container.get_blob_client(name).get_blob_properties().last_modified for name in listed}
    finally:
        stack.stop()
    assert listed == asked
    times = [time for _, time in sorted(listed.items())]
    apart = [after - before for before, after in pairwise(times)]
    assert all(timedelta(minutes=59, seconds=59) <= each < timedelta(hours=1, minutes=1) for each in apart), apart


# Blobs that come without an event and look old ------------------------------------------------------------------------


@pytest.fixture
def dataset(service: BlobServiceClient) -> BlobClient:
    return service.get_blob_client("datasets", f"old-{uuid.uuid4().hex[:8]}/a name+with %25 & ümlaut.jsonl")


def of_before(cloud: Stack, blob: BlobClient) -> datetime:
    """When the blob changed last, a while ago."""
    cloud.control("POST", "/_local/clock", {"advance": 60})
    return blob.get_blob_properties().last_modified


def listed_dates(service: BlobServiceClient, prefix: str) -> dict[str, datetime]:
    blobs = service.get_container_client("datasets").list_blobs(name_starts_with=prefix)
    return {blob.name: blob.last_modified for blob in blobs}


def test_what_is_undeleted_is_as_old_as_before_and_no_event(
    cloud: Stack, service: BlobServiceClient, dataset: BlobClient
) -> None:
    dataset.upload_blob(b"first")
    changed = of_before(cloud, dataset)
    eventually(lambda: events_of(cloud, dataset))
    dataset.delete_blob()
    assert not dataset.exists()
    dataset.undelete_blob()
    assert dataset.download_blob().readall() == b"first"
    assert dataset.get_blob_properties().last_modified == changed
    assert listed_dates(service, dataset.blob_name) == {dataset.blob_name: changed}
    dataset.upload_blob(b"second", overwrite=True)
    eventually(lambda: len(events_of(cloud, dataset)) == 2)
    assert dataset.get_blob_properties().last_modified > changed
    with pytest.raises(ResourceNotFoundError):
        service.get_blob_client("datasets", "none/such").undelete_blob()


def test_what_is_archived_can_not_be_renamed_and_can_be_deleted(cloud: Stack, dataset: BlobClient) -> None:
    dataset.upload_blob(b"abc")
    dataset.set_standard_blob_tier("Archive")
    named = {"rename": f"datasets/{dataset.blob_name}", "to": f"datasets/{dataset.blob_name}-renamed"}
    with pytest.raises(StackError, match="BlobArchived"):
        cloud.control("POST", "/_local/blobs", named)
    assert dataset.exists()
    dataset.delete_blob()
    assert not dataset.exists()


def test_what_is_renamed_is_as_old_as_before_and_no_event(
    cloud: Stack, service: BlobServiceClient, dataset: BlobClient
) -> None:
    dataset.upload_blob(b"abc")
    changed = of_before(cloud, dataset)
    target = service.get_blob_client("datasets", f"{dataset.blob_name}-renamed")
    named = {"rename": f"datasets/{dataset.blob_name}", "to": f"datasets/{target.blob_name}"}
    cloud.control("POST", "/_local/blobs", named)
    assert target.download_blob().readall() == b"abc"
    assert listed_dates(service, dataset.blob_name) == {target.blob_name: changed}
    assert events_of(cloud, target) == []
