"""Runs the kernel cases plainly and under each tool of compute-sanitizer, and adds a line for each to a record.

    npx tsx test/gpu/make-cases.ts DIR "" TARGET SEED
    python3 test/gpu/suite.py DIR --record bench/results/gpu-suite.jsonl --commit ID --date DAY [--shard 1/4] [--tools plain,memcheck]

A line has what ran (commit, target, seed, shard, device, driver), how many pairs of kernel and shape, how many distinct
kernels, how many were right, and how many reports the tool made. Tools run side by side. The exit status is 0
where every case was right and no tool had a report.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys

TOOLS = ("plain", "memcheck", "racecheck", "synccheck", "initcheck")
HERE = os.path.dirname(os.path.abspath(__file__))
REPORTS = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)")


def command(tool, folder, shard):
    cases = [sys.executable, os.path.join(HERE, "run_cases.py"), folder, "--shard", shard]
    if tool == "plain":
        return cases
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    # The driver's own probing of symbols is no report of a kernel.
    quiet = ["--report-api-errors", "no"] if tool in ("memcheck", "initcheck") else []
    return [sanitizer, "--tool", tool, *quiet, *cases, "--untimed"]


def run(tool, folder, shard, seconds):
    try:
        done = subprocess.run(command(tool, folder, shard), capture_output=True, text=True, timeout=seconds)
        out = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        out = (late.stdout or b"").decode()
        return {"tool": tool, "ended": f"stopped after {seconds} s", "right": out.count("\nok "), "wrong": out.count("\nFAIL "), "reports": None}, out
    counted = re.search(r"(\d+) passed, (\d+) failed", out)
    found = REPORTS.search(out)
    reports = 0 if tool == "plain" else None if found is None else int(found.group(1) or found.group(2))
    right, wrong = (int(counted.group(1)), int(counted.group(2))) if counted else (0, None)
    return {"tool": tool, "right": right, "wrong": wrong, "reports": reports}, out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--record", required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--date", required=True)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--seconds", type=float, default=550, help="for each tool")
    parser.add_argument("--logs", help="a folder for what the tools print")
    options = parser.parse_args()
    with open(os.path.join(options.folder, "cases.json")) as file:
        made = json.load(file)
    index, count = map(int, options.shard.split("/"))
    cases = made["cases"][index - 1::count]
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    device, driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().split("\n")[0].split(", ")
    what = {
        "date": options.date, "commit": options.commit, "device": device, "driver": driver, "target": made["target"], "seed": made["seed"],
        "shard": options.shard, "pairs": len(cases), "kernels": len({case["file"] for case in cases})}
    bad = False
    with concurrent.futures.ThreadPoolExecutor(len(TOOLS)) as pool:
        work = [pool.submit(run, tool, options.folder, options.shard, options.seconds) for tool in options.tools.split(",")]
        for result, out in (each.result() for each in work):
            good = result["right"] == len(cases) and result["reports"] == 0
            bad = bad or not good
            print(f"{result['tool']:10} {result['right']} of {len(cases)} right, {result['reports']} reports", flush=True)
            if not good:
                print("\n".join(line for line in out.split("\n") if not line.startswith("ok "))[-3000:], flush=True)
            if options.logs is not None:
                with open(os.path.join(options.logs, f"{result['tool']}.log"), "w") as log:
                    log.write(out)
            with open(options.record, "a") as record:
                record.write(json.dumps({**what, **result}) + "\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
