"""The verifier's rules, as far as programs break them: what its words mean, and what to write instead.

A row is found by the verifier's words, the first that fits. Each has a program that breaks it and a mended twin in
tests/bpf/refusals/, which run on every kernel that the tests know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VerifierRule:
    """`name` identifies it, `pattern` is a regular expression on the verifier's words, `rule` says what it asks for, in
    one sentence, `remedy` what to write instead."""

    name: str
    pattern: str
    rule: str
    remedy: str


RULES = (
    VerifierRule(
        "packet-bounds",
        r"invalid access to packet|R\d+ offset is outside of the packet",
        "packet data is read only as far as a comparison with data_end has shown it to be there",
        "Compare before the access, with the size of what is read: `if ((void *)(header + 1) > data_end) "
        "return ...;`. The comparison and the access must use the same pointer.",
    ),
    VerifierRule(
        "null-check",
        r"invalid mem access '\w+_or_null_?'",
        "a lookup may find nothing, so its pointer is followed only behind a comparison with NULL",
        "Test the pointer first, whatever you know of the map: `if (!value) return 0;`. Keep what you test in"
        " a variable: a second look-up is a second pointer.",
    ),
    VerifierRule(
        "null-argument",
        r"type=\w+_or_null_? expected=|Possibly NULL pointer passed to",
        "a helper takes no pointer that may be NULL",
        "Test what a look-up or reservation returned before it is handed on: `if (!value) return 0;`.",
    ),
    VerifierRule(
        "null-arithmetic",
        r"pointer arithmetic on \w+_or_null_? prohibited",
        "nothing is added to a pointer that may be NULL",
        "Test the pointer before you take the address of a member or an element: `if (!value) return 0; field"
        " = &value->field;`.",
    ),
    VerifierRule(
        "value-bounds",
        r"invalid access to map value, value_size|invalid access to memory, mem_size",
        "an access stays within the value of its map",
        "Compare the index with the number of elements before the access, or make the value larger; the words"
        " say its size, the offset and the size of the access.",
    ),
    VerifierRule(
        "value-negative",
        r"math between \w+ pointer and register with unbounded min value is not allowed"
        r"|R\d+ min value is negative, either use unsigned index",
        "an index has a lowest value of 0 at least",
        "Make the index unsigned (`__u32 index`), or test `index >= 0` as well as the upper bound.",
    ),
    VerifierRule(
        "size-negative",
        r"R\d+ min value is negative, either use unsigned or 'var &= const'",
        "a size is not negative, and has an upper limit",
        "Make the size unsigned and limit it before the call: `if (size > sizeof(buffer)) return 0;`, or "
        "`size &= sizeof(buffer) - 1` for a power of two.",
    ),
    VerifierRule(
        "size-unbounded",
        r"R\d+ unbounded memory access, use 'var &= const' or 'if \(var < const\)'",
        "a size has an upper limit that the verifier has seen",
        "Limit it right before the call, as an unsigned number: `if (size > sizeof(buffer)) return 0;`. A "
        "comparison of a signed copy does not count.",
    ),
    VerifierRule(
        "stack-index",
        r"invalid unbounded variable-offset (?:write|read|indirect access) to? ?stack"
        r"|invalid variable-offset (?:write|read|indirect access) to stack"
        r"|variable offset stack pointer cannot",
        "an index into the stack has limits that lie within the array",
        "Limit the index before the access: `bytes[index & (sizeof(bytes) - 1)]` with a size that is a power "
        "of two, or a comparison.",
    ),
    VerifierRule(
        "value-unbounded",
        r"R\d+ unbounded memory access, make sure to bounds check"
        r"|R\d+ max value is outside of the allowed memory range"
        r"|invalid access to map value, .* off=-?\d+ size",
        "an index has an upper limit that the verifier has seen",
        "Compare it with the number of elements before the access, in the same variable: `if (index >= "
        "ARRAY_SIZE) return 0;`. `index &= SIZE - 1` works where the compiler removes the comparison.",
    ),
    VerifierRule(
        "readonly-map",
        r"write into map forbidden|cannot write into rdonly_mem|write into rdonly",
        ".rodata and maps with BPF_F_RDONLY_PROG are never written by a program",
        "Make the variable one of .data (no `const`), or set it before the load: `variables={...}`, `kobox "
        "run prog.bpf.o NAME=VALUE`.",
    ),
    VerifierRule(
        "map-kind",
        r"cannot pass map_type \d+ into func",
        "each helper takes maps of certain kinds only",
        "Use the helper of this kind of map (bpf_ringbuf_output() for a ring buffer, bpf_perf_event_output() "
        "for a perf buffer, bpf_tail_call() for an array of programs), or another kind.",
    ),
    VerifierRule(
        "map-pointer",
        r"R\d+ type=\w+ expected=map_ptr|fd \d+ is not pointing to valid bpf_map",
        "the argument is the address of a map of the object",
        "Pass `&map`, a variable of section .maps; a pointer to a map cannot be computed or loaded.",
    ),
    VerifierRule(
        "reference-twice",
        r"R\d+ type=scalar expected=(?:alloc_mem|ringbuf_mem)|arg \d+ is an unacquired reference"
        r"|R\d+ must be referenced when passed to release function"
        r"|release kernel function .* expects refcounted|expected=ringbuf_mem",
        "what was released is gone: it is released once, and not used afterwards",
        "Leave out the second bpf_ringbuf_submit() or bpf_ringbuf_discard(); on every path exactly one of them comes.",
    ),
    VerifierRule(
        "argument-pointer",
        r"R\d+ type=\w+ expected=(?:fp|pkt|map_key|map_value|ctx|mem|sock|percpu|ptr_|\?\?\?)",
        "a helper's argument points to memory of a kind that it takes",
        "Pass the address of a variable on the stack or in a map (`&key`), not its value; a pointer that came"
        " from the kernel is copied first with bpf_probe_read_kernel().",
    ),
    VerifierRule(
        "scalar-pointer",
        r"R\d+ invalid mem access '(?:scalar|inv)'",
        "a number is no pointer: memory is read only through what the verifier knows as a pointer",
        "Pointers that a probe gets (PT_REGS_PARM1()) or that were read from memory are numbers: read through"
        " them with BPF_CORE_READ() or bpf_probe_read_kernel(), bpf_probe_read_user() for user space. "
        "Pointers into a packet become numbers when a helper changes the packet (bpf_xdp_adjust_head(), "
        "bpf_skb_pull_data()): load ctx->data and ctx->data_end anew and compare again. What "
        "bpf_ringbuf_submit() took is gone.",
    ),
    VerifierRule(
        "stack-bounds",
        r"invalid (?:write|read|access) (?:to|from) stack R1\d off|invalid stack type R\d+ off",
        "a program has 512 bytes of stack",
        "Put large variables into a map: a BPF_MAP_TYPE_PERCPU_ARRAY with one entry is scratch memory.",
    ),
    VerifierRule(
        "stack-argument",
        r"invalid (?:indirect access|indirect read|read|write|zero-sized read) (?:to|from) stack R\d off",
        "a helper reads and writes within the variable that it is given",
        "The size that is passed is larger than the variable: pass `sizeof(variable)`, and fill the variable "
        "before a helper reads it.",
    ),
    VerifierRule(
        "stack-alignment",
        r"misaligned (?:stack )?access off",
        "an access to the stack is aligned to its size",
        "Align the variable (`__attribute__((aligned(8)))`), or copy byte by byte; a packed structure on the "
        "stack is a common cause.",
    ),
    VerifierRule(
        "stack-total",
        r"combined stack size of \d+ calls is|stack size \d+\(extra|more than 512 bytes of stack",
        "functions that call each other share 512 bytes of stack",
        "Put the largest variable into a map (BPF_MAP_TYPE_PERCPU_ARRAY with one entry), or make the "
        "functions `static __always_inline` so that variables share their place.",
    ),
    VerifierRule(
        "call-depth",
        r"the call stack of \d+ frames is too deep|call stack of \d+ frames",
        "at most eight functions call each other",
        "Make inner functions `static __always_inline`, or go on in another program with bpf_tail_call().",
    ),
    VerifierRule(
        "no-result",
        r"R0 !read_ok",
        "a program sets R0, its result, on every path to its end",
        "Return a value on every path; a function in C that ends without `return` does not.",
    ),
    VerifierRule(
        "uninitialised",
        r"R\d+ !read_ok",
        "a register is read only after it was written",
        "A variable is used that no path before it has set, or an argument that the program does not have: "
        "a call leaves no argument register with a value.",
    ),
    VerifierRule(
        "frame-pointer",
        r"frame pointer is read only",
        "the frame pointer is never written",
        "Copy it into another register and change that.",
    ),
    VerifierRule(
        "pointer-bits",
        r"R\d+ bitwise operator .* on pointer prohibited|R\d+ 32-bit pointer arithmetic prohibited"
        r"|R\d+ pointer arithmetic with .* operator prohibited",
        "only addition and subtraction of numbers is done on pointers",
        "Keep flags and alignment out of pointers: compute with offsets, and add the offset to the pointer.",
    ),
    VerifierRule(
        "pointer-sum",
        r"R\d+ pointer [+-]= pointer prohibited|pointer arithmetic on \w+ prohibited",
        "two pointers are not added, and only those into one packet are subtracted",
        "Compute with the numbers: an offset from one pointer, which is limited first.",
    ),
    VerifierRule(
        "divide",
        r"div by zero",
        "the divisor is no constant zero",
        "Test the divisor, or correct the constant (a divisor that is zero when the program runs gives zero).",
    ),
    VerifierRule(
        "shift",
        r"invalid shift -?\d+",
        "a shift is smaller than the width of its operand",
        "Shift by 0 to 63 (0 to 31 for 32 bits), or limit the count: `1ULL << (n & 63)`.",
    ),
    VerifierRule(
        "context-moved",
        r"dereference of modified ctx ptr|modified ctx ptr R\d+ off|variable ctx access var_off"
        r"|negative offset ctx ptr",
        "the context is read through its own pointer with a constant offset",
        "Read the field as `ctx->field`; do not step through it with a pointer or a variable index. Where the"
        " compiler does so, read it through a volatile pointer or in a function that is not inlined.",
    ),
    VerifierRule(
        "hook-argument",
        r"func '\w+' doesn't have \d+-th argument",
        "a program on a function reads only arguments that the function has",
        "Compare with the function's prototype in this kernel (vmlinux.h, `kobox explain`); its arguments "
        "change between kernels: bpf_core_field_exists() and programs for each (`?` in the section) help.",
    ),
    VerifierRule(
        "context-field",
        r"invalid bpf_context access",
        "only the documented fields of the context are read, in their own size, and few are written",
        "The field is not there in this kernel, cannot be read by this kind of program, or not in this size, "
        "or is read-only: look at the structure in include/uapi/linux/bpf.h.",
    ),
    VerifierRule(
        "context-atomic",
        r"BPF_(?:ATOMIC|XADD|ST) stores into R\d+ \w+ is not allowed",
        "atomic operations are done in maps and on the stack, never in the context or in a packet",
        "Do it in a map's value, and copy the result.",
    ),
    VerifierRule(
        "endless",
        r"infinite loop detected|back-edge from insn",
        "a loop has an end that the verifier can see",
        "Count with a constant limit (`for (i = 0; i < 64; i++)`), or use bpf_loop() or bpf_for() where the "
        "kernel has them.",
    ),
    VerifierRule(
        "too-large",
        r"BPF program is too large|The sequence of \d+ jumps is too complex|too many states",
        "the verifier follows a million instructions at most",
        "Make loops shorter or use bpf_loop(), whose body is looked at once; put parts into global functions "
        "(not static), which are verified on their own, or into programs reached by bpf_tail_call().",
    ),
    VerifierRule(
        "unreachable",
        r"unreachable insn",
        "every instruction can be reached",
        "Remove code behind an exit or an endless loop; in C the compiler does so, in assembly you do.",
    ),
    VerifierRule(
        "no-exit",
        r"last insn is not an exit or jmp|subprog \d+ doesn't end",
        "a program ends with exit",
        "Let the last instruction be `exit` or a jump.",
    ),
    VerifierRule(
        "jump-range",
        r"jump out of range from insn",
        "a jump stays within its function",
        "Correct the distance.",
    ),
    VerifierRule(
        "helper-kind",
        r"unknown func \w+#\d+|program of this type cannot use helper|func \w+#\d+ .*not allowed",
        "each kind of program may call certain helpers",
        "Look up which kinds may call it (bpf-helpers(7), `bpftool feature probe`): take another helper, or "
        "another kind of program. An older kernel may lack the helper: bpf_core_enum_value_exists() asks.",
    ),
    VerifierRule(
        "helper-sleeps",
        r"helper call might sleep in a non-sleepable prog|sleepable helper .* in non-sleepable"
        r"|sleepable helper .* in .*region|kernel func \w+ is sleepable within",
        "a helper that may sleep is called only where sleeping is allowed",
        "Make the program sleepable (`fentry.s/`, `lsm.s/`, `iter.s/`, `uprobe.s/`) on a function that may "
        "sleep, or use bpf_probe_read_user() in place of bpf_copy_from_user().",
    ),
    VerifierRule(
        "not-sleepable",
        r"\w+ is not sleepable",
        "a sleepable program is attached only to functions that may sleep",
        "Leave out the `.s` of the section, or attach to a system call or a hook of a security module that may sleep.",
    ),
    VerifierRule(
        "reference-leak",
        r"Unreleased reference|reference leak|tail_call would lead to reference leak",
        "what was reserved or acquired is released on every path",
        "Call bpf_ringbuf_submit() or bpf_ringbuf_discard(), bpf_sk_release(), bpf_task_release() on every "
        "path to an exit, also those of errors.",
    ),
    VerifierRule(
        "lock-kept",
        r"bpf_spin_unlock is missing"
        r"|BPF_EXIT instruction (?:cannot be used inside|in main prog cannot be used inside) bpf_spin_lock"
        r"|bpf_spin_lock is missing unlock",
        "a spin lock is released on every path",
        "Call bpf_spin_unlock() before every return.",
    ),
    VerifierRule(
        "lock-call",
        r"function calls are not allowed while holding a lock"
        r"|global function calls are not allowed while holding a lock|calling .* while holding a lock"
        r"|Locking two bpf_spin_locks are not allowed",
        "while a spin lock is held nothing is called but bpf_spin_unlock()",
        "Call helpers before the lock is taken, keep their results in variables, and only copy under the lock.",
    ),
    VerifierRule(
        "lock-unheld",
        r"bpf_spin_unlock without taking a lock|bpf_spin_unlock of different lock",
        "a spin lock is released only by who holds it",
        "Take it first with bpf_spin_lock(), on the same value.",
    ),
    VerifierRule(
        "lock-touched",
        r"(?:bpf_spin_lock|bpf_timer|\w*kptr|bpf_list_head|bpf_rb_root|bpf_wq) cannot be accessed directly"
        r"|direct access to (?:bpf_spin_lock|bpf_timer)",
        "a spin lock or a timer in a value is touched by its helpers alone",
        "Copy the other members one by one, not the whole structure; map updates leave the lock out by "
        "themselves (BPF_F_LOCK).",
    ),
    VerifierRule(
        "callback-result",
        r"At callback return the register R0",
        "a callback returns 0 to go on or 1 to end",
        "Return 0 or 1.",
    ),
    VerifierRule(
        "result-unknown",
        r"At program exit the register R0 (?:has unknown scalar value|is not a known value)"
        r"|At program exit the register R0 has (?:smin=-2147483648 smax=2147483647|smin=0 smax=4294967295)",
        "the result of this kind of program has a value that the verifier knows",
        "Return a constant, or limit the result before: a program on a function's entry or return returns 0.",
    ),
    VerifierRule(
        "result-range",
        r"At program exit the register R0|At async callback return",
        "the result of a program is one that its kind may have",
        "Return one of the values that the words name: XDP_*, TC_ACT_*, 0 or 1 for control groups, 0 or a "
        "negative errno for security hooks.",
    ),
    VerifierRule(
        "kernel-write",
        r"only read is supported|only read from \w+ is supported|write into .*PTR_TO_BTF_ID"
        r"|cannot write into \w*ptr_",
        "memory of the kernel is read, and never written",
        "Use a helper or kernel function that sets what you want; programs cannot change the kernel's structures.",
    ),
    VerifierRule(
        "not-modifiable",
        r"\w+\(\) is not modifiable",
        "only functions that allow it (error injection, security hooks) can have their result changed",
        "Use fentry/fexit, or attach to a security hook (lsm/) or a function in "
        "/sys/kernel/debug/error_injection/list.",
    ),
    VerifierRule(
        "license",
        r"cannot call GPL-restricted function from non-GPL compatible program"
        r"|cannot call GPL-only function",
        "a helper that is marked gpl_only wants a program under a compatible licence",
        'Say `char LICENSE[] SEC("license") = "GPL";`, if that is the program\'s licence.',
    ),
    VerifierRule(
        "absent-function",
        r"extern \(func ksym\) '\w+': not found|calling kernel function \w+ is not allowed"
        r"|kernel btf_id \d+ is not a function",
        "the kernel functions that a program calls exist in this kernel, and this kind of program may call them",
        "Declare it `__ksym __weak` and test it before the call: `if (bpf_function) ...`; or run on a kernel "
        "that has it (`kobox bpf matrix`).",
    ),
    VerifierRule(
        "absent-field",
        r"failed to resolve CO-RE relocation|invalid func unknown#195896080|invalid CO-RE relocation",
        "a field that a program reads exists in this kernel's types",
        "Test for it first: `if (bpf_core_field_exists(task->field))`; give fields that were renamed a "
        "structure of your own (`struct task_struct___old`).",
    ),
    VerifierRule(
        "absent-hook",
        r"failed to find kernel BTF type ID of",
        "the function, tracepoint or hook that a program is attached to exists in this kernel, and is in its BTF",
        "Look into vmlinux.h or /proc/kallsyms for its name in this kernel; functions that were inlined or "
        "renamed are gone. A kprobe also takes names that BTF lacks.",
    ),
)
_COMPILED = tuple((re.compile(rule.pattern), rule) for rule in RULES)


def rule_for(words: str) -> VerifierRule | None:
    """The rule that the verifier's words are about."""
    return next((rule for pattern, rule in _COMPILED if pattern.search(words)), None)
