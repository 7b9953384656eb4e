[ -z "$PS1" ] && return
shopt -s checkwinsize
PS1='{release}:\w\$ '
alias ll='ls -l'
