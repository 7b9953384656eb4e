# PID 1 of a virtual machine: carries out the system calls that come over the second serial line.
#
#   request, 64 bytes:  operation, and seven numbers
#     0  system call     number, six arguments        reply: result, 0
#     1  write memory    address, length; the bytes   reply: 0, 0
#     2  read memory     address, length              reply: the bytes alone
#     3  system call in a child, which may die        reply: result, wait status
#     4  execve(2) in a child, which goes on          reply: its process ID, 0
#   reply, 16 bytes
#
# Assemble: as --64 agent.S -o agent.o && objcopy -O binary -j .text agent.o agent.bin

        .intel_syntax noprefix
        .set    BUFFER, 0x10000000      # request, reply at 0x40, termios at 0x80
        .set    SHARED, 0x20000000      # the result of a child
        .text
_start:
        mov     ebx, BUFFER
        mov     eax, 9                  # mmap(SHARED, 4096, READ | WRITE, SHARED | FIXED | ANONYMOUS, -1, 0)
        mov     edi, SHARED
        mov     esi, 4096
        mov     edx, 3
        mov     r10d, 0x31
        mov     r8, -1
        xor     r9d, r9d
        syscall
        mov     eax, 2                  # open("/dev/ttyS1", O_RDWR | O_NOCTTY)
        lea     rdi, [rip + tty]
        mov     esi, 0x102
        xor     edx, edx
        syscall
        mov     r12, rax
        mov     eax, 16                 # ioctl(TCGETS)
        mov     rdi, r12
        mov     esi, 0x5401
        lea     rdx, [rbx + 0x80]
        syscall
        mov     qword ptr [rbx + 0x80], 0       # raw: no input or output flags
        or      dword ptr [rbx + 0x88], 0x800   # CLOCAL
        mov     dword ptr [rbx + 0x8c], 0
        mov     word ptr [rbx + 0x96], 0x0100   # VTIME 0, VMIN 1
        mov     eax, 16                 # ioctl(TCSETS)
        mov     rdi, r12
        mov     esi, 0x5402
        lea     rdx, [rbx + 0x80]
        syscall
        lea     rsi, [rip + hello]
        mov     edx, 8
        call    write_all
again:
        mov     rsi, rbx
        mov     edx, 64
        call    read_all
        mov     rax, [rbx]
        cmp     rax, 1
        je      poke
        cmp     rax, 2
        je      peek
        cmp     rax, 3
        je      child
        cmp     rax, 4
        je      spawn
        mov     qword ptr [rbx + 0x48], 0
        call    system_call
reply:
        mov     [rbx + 0x40], rax
        lea     rsi, [rbx + 0x40]
        mov     edx, 16
        call    write_all
        jmp     again
poke:
        mov     rsi, [rbx + 8]
        mov     rdx, [rbx + 16]
        call    read_all
        mov     qword ptr [rbx + 0x48], 0
        xor     eax, eax
        jmp     reply
peek:
        mov     rsi, [rbx + 8]
        mov     rdx, [rbx + 16]
        call    write_all
        jmp     again
child:
        mov     eax, 57                 # fork()
        syscall
        test    rax, rax
        js      reply
        jnz     parent
        call    system_call
        mov     edi, SHARED
        mov     [rdi], rax
        mov     eax, 231                # exit_group(0)
        xor     edi, edi
        syscall
parent:
        mov     rdi, rax
        lea     rsi, [rbx + 0x48]
        mov     qword ptr [rsi], 0
        xor     edx, edx
        xor     r10d, r10d
        mov     eax, 61                 # wait4(child, &status, 0, NULL)
        syscall
        mov     edi, SHARED
        mov     rax, [rdi]
        jmp     reply
spawn:
        mov     edi, SHARED
        mov     qword ptr [rdi], 0
        mov     qword ptr [rbx + 0x48], 0
        mov     eax, 58                 # vfork(): the arguments stay as they are until the program has them
        syscall
        test    rax, rax
        js      reply
        jnz     spawned
        mov     eax, 112                # setsid()
        syscall
        call    system_call
        mov     edi, SHARED             # it has failed
        mov     [rdi], rax
        mov     eax, 231
        mov     edi, 127
        syscall
spawned:
        mov     edi, SHARED
        cmp     qword ptr [rdi], 0
        cmovne  rax, [rdi]
        jmp     reply
system_call:
        mov     rax, [rbx + 8]
        mov     rdi, [rbx + 16]
        mov     rsi, [rbx + 24]
        mov     rdx, [rbx + 32]
        mov     r10, [rbx + 40]
        mov     r8, [rbx + 48]
        mov     r9, [rbx + 56]
        syscall
        ret
read_all:                               # rdx bytes to rsi
        test    rdx, rdx
        jz      done
        mov     rdi, r12
        xor     eax, eax
        syscall
        test    rax, rax
        jle     read_all
        add     rsi, rax
        sub     rdx, rax
        jmp     read_all
write_all:                              # rdx bytes from rsi
        test    rdx, rdx
        jz      done
        mov     rdi, r12
        mov     eax, 1
        syscall
        test    rax, rax
        jle     write_all
        add     rsi, rax
        sub     rdx, rax
        jmp     write_all
done:
        ret
tty:    .asciz  "/dev/ttyS1"
hello:  .ascii  "kobox 1\n"
