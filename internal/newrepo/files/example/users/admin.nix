# One file per person. Hosts import it, so each host says who may log in.
{
  users.users.root.openssh.authorizedKeys.keys = [
    # "ssh-ed25519 AAAA... ana@laptop"
  ];
}
