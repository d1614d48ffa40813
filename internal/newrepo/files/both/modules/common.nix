# What all machines have. A host says otherwise with lib.mkForce.
{
  services.openssh.enable = true;

  # What must hold after each deploy; otherwise the host goes back to what it ran.
  deployment.healthChecks = {
    unit = [ { unit = "sshd"; } ];
    failedUnits = [ { } ];
  };
}
