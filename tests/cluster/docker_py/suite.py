"""Drives a cluster through docker-py, as scripts and dashboards do: from three hosts without a cluster to the last leave.

usage: suite.py ARCHIVE ARCHIVE SOCKET=ADDRESS SOCKET=ADDRESS SOCKET=ADDRESS
ARCHIVE: images app:1 and app:2, whose port 8080 answers `app 1` and `app 2`. Every step asserts what came of it: state,
or what a container sees. Exits with 1 and the step's name at the first that does not hold.
"""

import sys
import threading
import time
import urllib.request

import docker
from docker.types import (
    ConfigReference,
    EndpointSpec,
    Healthcheck,
    IPAMConfig,
    IPAMPool,
    Mount,
    NetworkAttachmentConfig,
    Placement,
    PlacementPreference,
    Resources,
    RestartPolicy,
    RollbackConfig,
    SecretReference,
    ServiceMode,
    UpdateConfig,
)

# What a step is given before it fails.
LIMIT_SECONDS = 60
POLL_SECONDS = 0.1


def wait_for(what, ask):
    """The first answer of `ask` that is true; fails after the limit with the last one."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {LIMIT_SECONDS} s: {what}; last answer {answer!r}")
        time.sleep(POLL_SECONDS)


def refused(status, words, call):
    """`call` is answered with this status, and with these words in its message."""
    try:
        call()
    except docker.errors.APIError as error:
        equal(error.status_code, status, error.explanation)
        assert words in error.explanation, error.explanation
        return
    raise AssertionError(f"not refused; expected {status}: {words}")


def current(thing, change):
    """Makes a change of the present version of `thing`; anew while the cluster itself changes it in between."""

    def attempt():
        thing.reload()
        try:
            change()
            return True
        except docker.errors.APIError as error:
            if "update out of sequence" not in error.explanation:
                raise
            return False

    wait_for(f"a change of {thing}", attempt)


def change_node(node, **spec):
    current(node, lambda: node.update(dict(node.attrs["Spec"], **spec)))


def equal(have, want, what=""):
    assert have == want, f"{what}: {have!r}, wanted {want!r}"


class Suite:
    def __init__(self, archives, hosts):
        self.archives = archives
        self.addresses = [address for _, address in hosts]
        self.clients = [docker.DockerClient(base_url=f"unix://{socket}", timeout=30) for socket, _ in hosts]
        self.first, self.second, self.third = self.clients

    # What is asked of the cluster.

    def running(self, service, version=None):
        """Its tasks that run and are to run, on `version` of the image if one is given."""
        tasks = self.first.services.get(service.id).tasks({"desired-state": "running"})
        up = [t for t in tasks if t["Status"]["State"] == "running"]
        return [t for t in up if version is None or t["Spec"]["ContainerSpec"]["Image"].split("@")[0] == version]

    def wait_running(self, service, count, version=None):
        return wait_for(
            f"{count} tasks of {service.name} run {version or ''}",
            lambda: (tasks := self.running(service, version)) and len(tasks) == count and tasks,
        )

    def container(self, task):
        """Through the first host, wherever it runs."""
        return self.first.containers.get(task["Status"]["ContainerStatus"]["ContainerID"])

    def sh(self, task, command):
        """What a shell prints in the container of a task."""
        code, output = self.container(task).exec_run(["sh", "-c", command])
        equal(code, 0, f"{command}: {output}")
        return output.decode()

    def fetched(self, address, port):
        try:
            with urllib.request.urlopen(f"http://{address}:{port}/", timeout=3) as answer:
                return answer.read().decode().strip()
        except OSError:
            return None

    # The steps, in the order of their names' numbers.

    def step_01_the_engine_tells_what_it_is(self):
        for client in self.clients:
            assert client.ping()
            version = client.version()
            assert version["ApiVersion"] and version["Os"] == "linux", version
            equal(client.info()["Swarm"]["LocalNodeState"], "inactive", "before init")
        refused(503, "This node is not a swarm manager", self.first.nodes.list)

    def step_02_a_cluster_is_made_and_joined(self):
        node = self.first.swarm.init(
            advertise_addr=self.addresses[0], listen_addr=f"{self.addresses[0]}:2377", task_history_retention_limit=3
        )
        equal(node, self.first.info()["Swarm"]["NodeID"], "the id that init gives")
        self.first.swarm.reload()
        tokens = self.first.swarm.attrs["JoinTokens"]
        for client, address, role in [(self.second, self.addresses[1], "Manager"), (self.third, self.addresses[2], "Worker")]:
            assert client.swarm.join(
                remote_addrs=[f"{self.addresses[0]}:2377"],
                join_token=tokens[role],
                advertise_addr=address,
                listen_addr=f"{address}:2377",
            )
        nodes = wait_for(
            "three nodes are ready",
            lambda: (n := self.first.nodes.list()) and len(n) == 3 and all(x.attrs["Status"]["State"] == "ready" for x in n) and n,
        )
        equal(sorted(n.attrs["Spec"]["Role"] for n in nodes), ["manager", "manager", "worker"])
        equal(len(self.second.nodes.list(filters={"role": "worker"})), 1, "asked another manager")
        equal(self.first.swarm.attrs["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"], 3)
        old = tokens["Worker"]
        current(self.first.swarm, lambda: self.first.swarm.update(rotate_worker_token=True))
        self.first.swarm.reload()
        assert self.first.swarm.attrs["JoinTokens"]["Worker"] != old

    def step_03_nodes_are_labelled_promoted_and_demoted(self):
        for place, client in zip("abc", self.clients):
            node = self.first.nodes.get(client.info()["Swarm"]["NodeID"])
            change_node(node, Labels={"zone": place})
        labelled = self.first.nodes.list(filters={"node.label": "zone=c"})
        equal([n.id for n in labelled], [self.third.info()["Swarm"]["NodeID"]])
        worker = labelled[0]
        change_node(worker, Role="manager")
        wait_for("the worker became a manager", lambda: self.third.info()["Swarm"]["ControlAvailable"])
        worker.reload()
        stale = worker.version - 1
        refused(500, "update out of sequence", lambda: self.first.api.update_node(worker.id, stale, worker.attrs["Spec"]))

    def step_04_images_are_loaded_and_looked_at(self):
        for client in self.clients:
            for number, archive in enumerate(self.archives, 1):
                with open(archive, "rb") as data:
                    loaded = client.images.load(data)
                equal(loaded[0].tags, [f"app:{number}"])
            image = client.images.get("app:1")
            equal(image.attrs["Config"]["Cmd"], ["httpd", "-f", "-p", "8080", "-h", "/www"])
            assert image.history()
            assert image.tag("shop", "one")
            equal(client.images.get("shop:one").id, image.id)
            client.images.remove("shop:one")
            try:
                client.images.get("shop:one")
                raise AssertionError("a removed name is still there")
            except docker.errors.ImageNotFound:
                pass

    def step_05_networks_secrets_configs_and_volumes_are_made(self):
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.1")])
        self.net = self.first.networks.create("back", driver="overlay", attachable=True, labels={"of": "suite"}, ipam=ipam)
        self.net.reload()
        equal(self.net.attrs["IPAM"]["Config"][0]["Subnet"], "10.77.0.0/24")
        equal([n.name for n in self.second.networks.list(filters={"label": "of=suite"})], ["back"])
        secret = self.first.secrets.create(name="key", data=b"open sesame", labels={"of": "suite"})
        config = self.first.configs.create(name="page", data=b"hello from a config")
        self.secret, self.config = self.second.secrets.get(secret.id), self.second.configs.get(config.id)
        assert "Data" not in self.secret.attrs["Spec"], "the API gives no secret away"
        equal(self.config.name, "page")
        refused(409, "already exists", lambda: self.first.secrets.create(name="key", data=b"x"))
        refused(409, "already exists", lambda: self.first.configs.create(name="page", data=b"x"))
        volume = self.first.volumes.create("kept", labels={"of": "suite"})
        equal([v.name for v in self.first.volumes.list(filters={"label": "of=suite"})], [volume.name])

    def step_06_a_service_with_everything_sees_it_inside(self):
        secret = SecretReference(self.secret.id, "key", filename="lock", uid="65534", gid="65534", mode=0o400)
        config = ConfigReference(self.config.id, "page", filename="/www/config.txt", mode=0o444)
        self.web = self.first.services.create(
            "app:1",
            name="web",
            labels={"of": "suite"},
            container_labels={"inside": "yes"},
            env=["GREETING=hello", "SLOT={{.Task.Slot}}"],
            hostname="web-{{.Task.Slot}}",
            workdir="/www",
            stop_grace_period=1_000_000_000,
            stop_signal="SIGTERM",
            init=True,
            hosts={"elsewhere": "192.0.2.7"},
            dns_config={"Nameservers": ["192.0.2.53"], "Search": ["example.test"], "Options": ["ndots:2"]},
            cap_drop=["CAP_NET_RAW"],
            sysctls={"net.ipv4.ip_unprivileged_port_start": "80"},
            mounts=[
                Mount("/data", "kept-{{.Task.Slot}}", type="volume"),
                Mount("/scratch", None, type="tmpfs", tmpfs_size=1 << 20),
            ],
            secrets=[secret],
            configs=[config],
            networks=[NetworkAttachmentConfig("back", aliases=["shop"])],
            endpoint_spec=EndpointSpec(mode="vip", ports={8090: (8080, "tcp", "ingress")}),
            mode=ServiceMode("replicated", replicas=3),
            constraints=["node.labels.zone != nowhere"],
            preferences=[PlacementPreference("spread", "node.labels.zone")],
            maxreplicas=1,
            resources=Resources(cpu_limit=500_000_000, mem_limit=64 << 20, cpu_reservation=10_000_000, mem_reservation=8 << 20),
            restart_policy=RestartPolicy("on-failure", delay=1_000_000_000, max_attempts=3, window=60_000_000_000),
            update_config=UpdateConfig(parallelism=1, delay=0, failure_action="rollback", monitor=1_000_000_000, order="stop-first"),
            rollback_config=RollbackConfig(parallelism=2, order="stop-first", monitor=1_000_000_000),
            healthcheck=Healthcheck(test=["CMD", "true"], interval=1_000_000_000, timeout=1_000_000_000, retries=3),
            log_driver="json-file",
            log_driver_options={"max-size": "1m", "max-file": "2"},
        )
        tasks = self.wait_running(self.web, 3)
        equal(len({t["NodeID"] for t in tasks}), 3, "one on each node")
        task = tasks[0]
        slot = task["Slot"]
        seen = lambda command: self.sh(task, command).strip()
        equal(seen("echo $GREETING $SLOT; hostname; pwd"), f"hello {slot}\nweb-{slot}\n/www")
        equal(seen("cat /run/secrets/lock; stat -c ' %u %a' /run/secrets/lock"), "open sesame 65534 400")
        equal(seen("cat /www/config.txt"), "hello from a config")
        assert "192.0.2.7" in seen("cat /etc/hosts") and "elsewhere" in seen("cat /etc/hosts")
        assert "example.test" in seen("cat /etc/resolv.conf") and "ndots:2" in seen("cat /etc/resolv.conf")
        assert "size=1024k" in seen("grep ' /scratch ' /proc/mounts"), seen("grep ' /scratch ' /proc/mounts")
        equal(seen("echo kept > /data/file && cat /data/file"), "kept")
        equal(seen("cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "80")
        equal(seen("wget -q -O - http://shop:8080/"), "app 1", "by its alias over the network")
        caps = int(seen("grep CapEff /proc/self/status").split()[1], 16)
        equal(caps >> 13 & 1, 0, "NET_RAW was dropped")
        container = self.container(task)
        equal(container.attrs["Config"]["Labels"]["inside"], "yes")
        equal(container.attrs["State"]["Status"], "running")
        wait_for("the container is healthy", lambda: container.reload() or container.attrs["State"]["Health"]["Status"] == "healthy")
        for address in self.addresses:
            wait_for(f"{address} answers", lambda: self.fetched(address, 8090) == "app 1")
        self.web.reload()
        equal(self.web.attrs["Endpoint"]["Ports"][0]["PublishedPort"], 8090)
        equal(self.first.services.list(filters={"label": "of=suite"})[0].id, self.web.id)

    def step_07_logs_tell_what_was_written_on_every_node(self):
        talker = self.second.services.create(
            "app:1", ["sh", "-c", "echo out of $NAME; echo err of $NAME >&2; sleep 1000"], name="talker",
            env=["NAME={{.Task.Name}}"], mode=ServiceMode("replicated", 3), maxreplicas=1, stop_grace_period=0,
        )
        self.wait_running(talker, 3)

        def lines(**options):
            return sorted(b"".join(talker.logs(**options)).decode().splitlines())

        wait_for("each task wrote a line", lambda: len(lines(stdout=True, stderr=False)) == 3)
        equal(len(lines(stdout=True, stderr=True)), 6)
        assert all(l.startswith("out of talker.") for l in lines(stdout=True))
        equal(len(lines(stdout=True, tail=1)), 3, "the last of each task")
        stamped = lines(stdout=True, timestamps=True)
        assert all("T" in line.split(" ")[0] for line in stamped), stamped
        follower = talker.logs(stdout=True, follow=True)
        first = next(iter(follower))
        assert first.startswith(b"out of"), first
        follower.close()
        talker.remove()
        wait_for("its tasks are gone", lambda: not [t for t in self.first.api.tasks({"name": "talker"})])

    def step_08_a_command_runs_in_a_container_and_tells_how_it_ended(self):
        elsewhere = self.third.info()["Swarm"]["NodeID"]
        task = next(t for t in self.running(self.web) if t["NodeID"] == elsewhere)
        api, container = self.first.api, self.container(task)
        code, output = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 3"], demux=True)
        equal((code, output), (3, (b"out\n", b"err\n")))
        equal(container.exec_run("id -un", user="nobody").output, b"nobody\n")
        equal(container.exec_run(["sh", "-c", "echo $A; pwd"], environment={"A": "b"}, workdir="/tmp").output, b"b\n/tmp\n")
        made = api.exec_create(container.id, ["sh", "-c", "read line; echo got $line"], stdin=True)
        stream = api.exec_start(made["Id"], socket=True)
        stream._sock.sendall(b"a line\n")
        equal(b"".join(iter(lambda: stream.read(4096), b"")).rpartition(b"got")[2], b" a line\n")
        equal(api.exec_inspect(made["Id"])["ExitCode"], 0)
        tty = api.exec_create(container.id, ["sh", "-c", "tty && stty size"], tty=True, stdin=True)
        output = api.exec_start(tty["Id"], tty=True)
        assert b"/dev/pts/" in output, output

    def step_09_a_service_is_scaled_updated_and_rolled_back(self):
        plain = self.first.services.create(
            "app:1", name="plain", mode=ServiceMode("replicated", 2), stop_grace_period=0,
            endpoint_spec=EndpointSpec(ports={8091: 8080}), update_config=UpdateConfig(parallelism=0, monitor=0, order="start-first"),
        )
        self.wait_running(plain, 2)
        current(plain, lambda: plain.scale(4))
        before = {t["ID"] for t in self.wait_running(plain, 4)}
        current(plain, plain.force_update)
        wait_for("all are new", lambda: (n := {t["ID"] for t in self.running(plain)}) and len(n) == 4 and not n & before)
        current(plain, lambda: plain.update(image="app:2", fetch_current_spec=True))
        self.wait_running(plain, 4, "app:2")
        wait_for("the update is completed", lambda: plain.reload() or plain.attrs["UpdateStatus"]["State"] == "completed")
        equal(plain.attrs["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]["Image"].split("@")[0], "app:1")
        wait_for("every host answers with the new one", lambda: all(self.fetched(a, 8091) == "app 2" for a in self.addresses))
        # docker-py has no call for it: what the command line sends.
        api = self.first.api
        url = api._url("/services/{0}/update", plain.id)

        def roll_back():
            parameters = {"version": plain.version, "rollback": "previous"}
            api._raise_for_status(api._post_json(url, data=plain.attrs["Spec"], params=parameters))

        current(plain, roll_back)
        self.wait_running(plain, 4, "app:1")
        plain.reload()
        assert plain.attrs["UpdateStatus"]["State"].startswith("rollback"), plain.attrs["UpdateStatus"]
        self.plain = plain

    def step_10_jobs_and_global_services_run(self):
        everywhere = self.first.services.create("app:1", name="everywhere", mode="global", stop_grace_period=0)
        equal(len({t["NodeID"] for t in self.wait_running(everywhere, 3)}), 3)
        job = self.first.services.create(
            "app:1", ["true"], name="job", mode=ServiceMode("replicated-job", 3, 2), restart_policy=RestartPolicy("none")
        )
        done = lambda: [t for t in job.tasks() if t["Status"]["State"] == "complete"]
        wait_for("the job is complete", lambda: len(done()) == 3)
        equal({t["Status"]["ContainerStatus"]["ExitCode"] for t in done()}, {0})
        everywhere.remove()
        job.remove()

    def step_11_a_node_is_drained_and_comes_back(self):
        node = self.first.nodes.get(self.third.info()["Swarm"]["NodeID"])
        change_node(node, Availability="drain")
        wait_for(
            "nothing of the service is left there, and four run",
            lambda: len(n := self.running(self.plain)) == 4 and all(t["NodeID"] != node.id for t in n),
        )
        change_node(node, Availability="active")
        waits = [t for t in self.web.tasks({"desired-state": "running"}) if t["Status"]["State"] == "pending"]
        assert all(t["Status"].get("Err") or t["Status"]["Message"] for t in waits), "a reason for whatever waits"
        self.wait_running(self.web, 3)

    def step_12_events_tell_what_happened(self):
        seen, ready = [], threading.Event()
        stream = self.first.events(decode=True, filters={"type": ["service", "secret"]}, since=int(time.time()))

        def read():
            ready.set()
            for event in stream:
                seen.append((event["Type"], event["Action"], event["Actor"]["Attributes"].get("name")))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        ready.wait()
        brief = self.first.services.create("app:1", name="brief", mode=ServiceMode("replicated", 0))
        self.first.secrets.create(name="brief-key", data=b"x")
        self.first.secrets.list(filters={"name": "brief-key"})[0].remove()
        brief.remove()
        want = [
            ("service", "create", "brief"),
            ("secret", "create", "brief-key"),
            ("secret", "remove", "brief-key"),
            ("service", "remove", "brief"),
        ]
        wait_for(f"the events {want}", lambda: [e for e in seen if e in want] == want)
        stream.close()

    def step_13_what_is_used_is_kept_and_what_is_not_goes(self):
        for thing in (self.secret, self.config, self.net):
            refused(400, "in use by", thing.remove)
        self.web.remove()
        self.plain.remove()
        wait_for("no task is left", lambda: not self.first.api.tasks())
        for thing in (self.secret, self.config, self.net):
            wait_for("it goes", lambda: self.removed(thing))
        equal((self.first.secrets.list(), self.first.configs.list()), ([], []))
        for client in self.clients:
            wait_for("no container is left", lambda: not client.containers.list(all=True))
        self.first.volumes.get("kept").remove()

    @staticmethod
    def removed(thing):
        try:
            thing.remove()
        except docker.errors.NotFound:
            return True
        except docker.errors.APIError as error:
            # The network is held until the last task on it has stopped.
            assert "in use by" in error.explanation or "has active endpoints" in error.explanation, error.explanation
            return False
        return True

    def step_14_hosts_leave(self):
        third = self.third.info()["Swarm"]["NodeID"]
        node = self.first.nodes.get(third)
        change_node(node, Role="worker")
        wait_for("it is a worker", lambda: not self.third.info()["Swarm"]["ControlAvailable"])
        assert self.third.swarm.leave()
        wait_for("it is seen as down", lambda: node.reload() or node.attrs["Status"]["State"] == "down")
        self.first.nodes.get(third)
        assert self.first.api.remove_node(third)
        equal(len(self.first.nodes.list()), 2)
        refused(503, "participating as a manager", self.second.swarm.leave)
        assert self.second.swarm.leave(force=True) and self.first.swarm.leave(force=True)
        for client in self.clients:
            wait_for("it is in no cluster", lambda: client.info()["Swarm"]["LocalNodeState"] == "inactive")

    def run(self):
        for name in sorted(n for n in dir(self) if n.startswith("step_")):
            begun = time.monotonic()
            try:
                getattr(self, name)()
            except BaseException:
                print(f"FAILED {name}", file=sys.stderr, flush=True)
                raise
            print(f"ok {name} ({time.monotonic() - begun:.1f} s)", flush=True)


def main():
    first, second, *hosts = sys.argv[1:]
    Suite([first, second], [tuple(host.split("=")) for host in hosts]).run()


main()
