"""eBPF without a running kernel: kinds of programs, the verifier's log taken apart, its rules with remedies."""
