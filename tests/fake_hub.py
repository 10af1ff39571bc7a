"""A small part of the Hugging Face Hub's HTTP API, on this machine: repositories of files, with commits."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants


class FakeHub:
    """Repositories by name: {file name: content}. A change of the files gives another commit.

    Attributes:
        repositories: the files of each repository.
        sizes: sizes that the API claims instead of the true ones, by name of the file.
        asked: "METHOD path" of each request.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.sizes: dict[str, int] = {}
        self.asked: list[str] = []

    def commit(self, repository: str) -> str:
        files = self.repositories[repository]
        digest = hashlib.sha1()
        for name in sorted(files):
            digest.update(name.encode() + files[name])
        return digest.hexdigest()

    def info(self, repository: str) -> dict:
        files = self.repositories[repository]
        siblings = [{"rfilename": name, "size": self.sizes.get(name, len(files[name]))} for name in files]
        return {"id": repository, "modelId": repository, "sha": self.commit(repository), "siblings": siblings}


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = unquote(urlparse(self.path).path).strip("/").split("/")
            hub.asked.append(f"{self.command} {'/'.join(parts)}")
            if parts[:2] == ["api", "models"]:
                repository, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
                if repository not in hub.repositories:
                    return self.fail("RepoNotFound", "Repository not found")
                if revision not in ("main", hub.commit(repository)):
                    return self.fail("RevisionNotFound", "Invalid rev id")
                return self.answer(json.dumps(hub.info(repository)).encode(), "application/json")
            repository, name = "/".join(parts[:2]), "/".join(parts[4:])
            if parts[2:3] != ["resolve"] or name not in hub.repositories.get(repository, {}):
                return self.fail("EntryNotFound", "Entry not found")
            content = hub.repositories[repository][name]
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": parts[3]}
            return self.answer(content, "application/octet-stream", headers)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            parts = unquote(urlparse(self.path).path).strip("/").split("/")
            hub.asked.append(f"POST {'/'.join(parts)}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if parts == ["api", "repos", "create"]:
                about = json.loads(body)
                name = f"{about.get('organization') or 'owner'}/{about['name']}"
                url = f"http://{self.headers['Host']}/{name}"
                if name in hub.repositories:
                    return self.answer(json.dumps({"url": url}).encode(), "application/json", status=409)
                hub.repositories[name] = {".gitattributes": b"*.safetensors filter=lfs\n"}
                hub.asked.append(f"visibility {about['visibility']}")
                return self.answer(json.dumps({"url": url}).encode(), "application/json")
            if parts == ["api", "validate-yaml"]:  # the front matter of a model card
                content = json.loads(body)["content"]
                errors = [] if yaml.safe_load(content.split("---\n")[1])["license"] else [{"message": "no license"}]
                return self.answer(json.dumps({"errors": errors, "warnings": []}).encode(), "application/json")
            repository = "/".join(parts[2:4])
            if parts[4] == "preupload":
                more = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                files = [{"path": one["path"], **more} for one in json.loads(body)["files"]]
                return self.answer(json.dumps({"files": files}).encode(), "application/json")
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.repositories[repository][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del hub.repositories[repository][value["path"]]
            done = {
                "commitUrl": f"http://{self.headers['Host']}/{repository}/commit/x",
                "commitOid": hub.commit(repository),
                "success": True,
            }
            return self.answer(json.dumps(done).encode(), "application/json")

        def answer(self, content: bytes, kind: str, headers: dict[str, str] | None = None, status: int = 200) -> None:
            self.send_response(status)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def fail(self, code: str, said: str, status: int = 404) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", said)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Handler


@contextlib.contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Serve a fake hub, and let huggingface_hub use it instead of the real one."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    huggingface_hub.close_session()
    yield hub
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()
