"""Descriptions of trees with which test_twins.py compares the models in C++ and in Python, and faulty ones."""

ALL_DTYPES = ["float32", "float64", "bfloat16", "float16", "complex64", "int64", "int32", "uint8", "bool"]

LINEAR = {"kind": "linear", "out": 3}
EVERYTHING = {
    "kind": "sequential",
    "parameters": {"scale": {"shape": [2, 3]}, "idle": {"shape": [], "unused": True}},
    "buffers": {"counter": {"shape": [], "dtype": "int64"}, "scratch": {"shape": [2], "persistent": False}},
    "extra_state": {"version": 3, "names": ["a", None]},
    "hooks": {"runs": "forward", "saves": "save_pre", "gets": "get_extra_state"},
    "children": {
        "embed": {"kind": "embedding", "count": 5, "out": 6},
        "conv": {"kind": "conv", "channels": 2, "out": 3, "kernel": 2},
        "norm": {"kind": "layer_norm", "bias": False},
        "batch": {"kind": "batch_norm"},
        "act": {"kind": "relu"},
        "two": {
            "kind": "branch",
            "children": {"left one": LINEAR, "rïght": {**LINEAR, "bias": False}, "never": {**LINEAR, "unused": True}},
        },
        "tail": {"kind": "linear", "out": 6, "dtype": "float64"},
        "again": {"kind": "shared", "path": "two"},
        "last": {"kind": "bare"},
    },
}

TREES = [
    {"root": LINEAR},
    {"root": {"kind": "bare"}, "in": 7},
    {"root": EVERYTHING, "in": 6, "scale": 2**-20},
    {"root": EVERYTHING, "in": 6, "values": "random", "ties": [["two.left one.weight", "two.rïght.weight"]],
     "frozen": ["embed.weight", "two.rïght.weight"]},
    {"root": {"kind": "sequential", "children": [{"kind": "linear", "out": 2 + i % 3} for i in range(13)]},
     "values": "random"},
    {"root": {"kind": "bare",
              "parameters": {f"p {dtype}": {"shape": [2, 3], "dtype": dtype} for dtype in ALL_DTYPES},
              "buffers": {f"b {dtype}": {"shape": [5], "dtype": dtype} for dtype in ALL_DTYPES}}},
    {"root": {"kind": "bare",
              "parameters": {f"p {dtype}": {"shape": [3], "dtype": dtype} for dtype in ALL_DTYPES},
              "buffers": {f"b {dtype}": {"shape": [], "dtype": dtype} for dtype in ALL_DTYPES}}, "values": "random"},
    {"root": {"kind": "bare", "parameters": {"none": {"shape": [0, 3]}, "wide": {"shape": [3, 0]}, "one": {"shape": []},
                                             "cube": {"shape": [2, 3, 2]}}}},
    {"root": {"kind": "sequential", "children": [{"kind": "linear", "out": 0}, {"kind": "linear", "out": 2}]}},
    {"root": {"kind": "branch", "children": {"module": LINEAR, "state": {"kind": "embedding", "count": 7, "out": 3},
                                             "param_groups": {"kind": "shared", "path": "module"}}},
     "values": "random"},
    {"root": {"kind": "branch",
              "children": {name: {"kind": "bare", "buffers": {"b": {"shape": [3]}}} for name in ("x", "y")}},
     "ties": [["x.b", "y.b"]]},
    {"root": {"kind": "linear", "out": 5, "dtype": "bfloat16"}, "values": "random"},
]


def _deep(levels: int) -> dict:
    return {"kind": "bare"} if levels == 1 else {"kind": "sequential", "children": [_deep(levels - 1)]}


def _member(name: str, **fields: object) -> dict:
    return {"root": {"kind": "bare", "parameters": {name: {"shape": [1], **fields}}}}


def _below(child: object) -> dict:
    return {"root": {"kind": "branch", "children": {"a": {"kind": "sequential", "children": [LINEAR, child]}}}}


BAD_TREES = [
    ({}, "argument 'root' is missing"),
    ({"root": 3}, "at the root: a dict is needed, got "),
    ({"root": {}}, "at the root: 'kind' is missing"),
    (_below({"kind": "lineer"}), "at 'a.1': there is no kind 'lineer'; possible: sequential, branch, linear, "),
    (_below({"kind": 2}), "at 'a.1': 'kind' must be a string, got "),
    (_below({"kind": "relu", "out": 2}), "at 'a.1': 'out' is unknown"),
    (_below({"kind": "linear"}), "at 'a.1': 'out' is missing"),
    (_below({"kind": "linear", "out": -1}), "at 'a.1': 'out' must be an int from 0 to 268435456, got "),
    (_below({"kind": "linear", "out": True}), "at 'a.1': 'out' must be an int from 0 to 268435456, got "),
    (_below({"kind": "linear", "out": 2, "bias": 1}), "at 'a.1': 'bias' must be a bool, got "),
    (_below({"kind": "linear", "out": 2, "dtype": "int64"}),
     "at 'a.1': 'dtype' must be one of float32, float64, bfloat16, float16, got "),
    (_below({"kind": "conv", "out": 2, "channels": 2}),
     "at 'a.1': an input of width 3 does not fit 2 channels and a kernel of 1"),
    (_below({"kind": "conv", "out": 2, "kernel": 4}),
     "at 'a.1': an input of width 3 does not fit 1 channels and a kernel of 4"),
    (_below({"kind": "sequential", "children": [{"kind": "linear", "out": 0}, {"kind": "layer_norm"}]}),
     "at 'a.1.1': the input has width 0"),
    (_below({"kind": "shared", "path": "b"}), "at 'a.1': no module before this one has the path 'b'"),
    (_below({"kind": "shared", "path": "a"}), "at 'a.1': no module before this one has the path 'a'"),
    (_below({"kind": "shared", "path": "a.0"}),
     "at 'a.1': the shared module 'a.0' has an input of width 4, here it is 3"),
    (_below({"kind": "bare", "hooks": {"h": "never"}}), "at 'a.1': the hook 'h' must be one of save_pre, save_post, "),
    ({"root": {"kind": "sequential", "hooks": {"h": "forward"}, "children": [{"kind": "bare", "hooks": {"h": "forward"}}]}},
     "at '0': another hook has the name 'h'"),
    (_member("a.b"), "at the root: the name 'a.b' contains a dot"),
    (_member(""), "at the root: the name '' is empty"),
    (_member("_x"), "at the root: the name '_x' begins with '_'"),
    (_member("forward"), "at the root: the name 'forward' is an attribute of PyTorch's modules"),
    (_member("x" * 1025), "at the root: a name has more than 1024 bytes"),
    (_member("p", dtype="float8"), "at 'p': 'dtype' must be one of float32, float64, bfloat16, "),
    (_member("p", shape=[2, -1]), "at 'p': 'shape' must be a list of at most 8 ints from 0 to 268435456, got "),
    (_member("p", shape=[1] * 9), "at 'p': 'shape' must be a list of at most 8 ints from 0 to 268435456, got "),
    (_member("p", shape=[2**20, 2**20]), "at 'p': the tree has more than 268435456 elements"),
    (_member("p", persistent=False), "at 'p': 'persistent' is unknown"),
    ({"root": {"kind": "linear", "out": 2, "buffers": {"bias": {"shape": []}}}},
     "at the root: the name 'bias' is there twice"),
    ({"root": {"kind": "sequential", "parameters": {"0": {"shape": []}}, "children": [LINEAR]}},
     "at the root: the name '0' is there twice"),
    ({"root": _deep(33)}, "at '" + ".".join("0" * 32) + "': the tree has more than 32 levels"),
    ({"root": {"kind": "sequential", "children": [{"kind": "relu"}] * 4095}},
     "at '4094': the tree has more than 4095 modules"),
    ({"root": {"kind": "sequential", "children": [{"kind": "linear", "out": 1}] * 2048}},
     "at '2047': the tree has more than 4095 tensors"),
    ({"root": LINEAR, "in": 2**40}, "argument 'in' must be at most 268435456"),
    ({"root": LINEAR, "values": "ones"}, "argument 'values' must be one of coded, random, got "),
    ({"root": LINEAR, "scale": 0}, "argument 'scale' must be a number above 0, got "),
    ({"root": LINEAR, "ties": [["weight"]]}, "argument 'ties' must be a list of lists of at least 2 strings, got "),
    ({"root": LINEAR, "ties": [["weight", "wait"]]}, "argument 'ties': no parameter or buffer has the name 'wait'"),
    ({"root": LINEAR, "ties": [["weight", "bias"]]},
     "argument 'ties': 'weight' and 'bias' are not both parameters or both buffers of one shape and dtype"),
    ({"root": LINEAR, "frozen": "weight"}, "argument 'frozen' must be a list of strings, got "),
    ({"root": LINEAR, "frozen": ["wait"]}, "argument 'frozen': no parameter or buffer has the name 'wait'"),
    ({"root": {"kind": "batch_norm"}, "frozen": ["running_var"]}, "argument 'frozen': 'running_var' is a buffer"),
]
